import type { Fault } from '../../state/submit';
import { t } from '../../strings/en';

export function faultSentence(fault: Fault): string {
  return fault.parse ? t.submit.parse(fault.parse) : (fault.message ?? t.problem.unknown);
}

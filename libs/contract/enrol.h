/*
 * What a node and the registry must agree upon when the node asks for a token: the text that its keys sign, a format of
 * the node's id, the Unix time in ms, its public key and the key that is to take its place ("" when none is).
 * docs/contracts/platform.md section 2.1.
 *
 *     snprintf(text, sizeof(text), CYX_RENEWAL_TEXT, node_id, (long long)at_ms, key, "");
 */
#ifndef CYX_CONTRACT_ENROL_H
#define CYX_CONTRACT_ENROL_H

enum { CYX_RENEWAL_TEXT_BYTES = 256 };
#define CYX_RENEWAL_TEXT "cyxwiz renewal\n%s\n%lld\n%s\n%s\n"

#endif

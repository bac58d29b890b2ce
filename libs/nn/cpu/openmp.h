/*
 * The few functions of OpenMP's runtime that are used here, as its specification declares them: its header comes
 * with one compiler's library and would bind every tool that reads this code to that compiler.
 */
#ifndef CYX_NN_CPU_OPENMP_H
#define CYX_NN_CPU_OPENMP_H

int omp_get_max_threads(void);
int omp_get_num_procs(void);
int omp_get_num_threads(void);
int omp_get_thread_num(void);
void omp_set_num_threads(int threads);

#endif

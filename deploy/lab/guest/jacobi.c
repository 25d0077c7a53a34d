// jacobi N ITERATIONS: Jacobi sweeps over an N by N grid in blocks of rows, with the halo exchange and the global
// residual of a regional weather model's solver. Rank 0 tells the residual, which no migration may change.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **words)
{
    int rank, ranks, length;
    char host[MPI_MAX_PROCESSOR_NAME];
    MPI_Init(&count, &words);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Get_processor_name(host, &length);
    int n = count > 1 ? atoi(words[1]) : 256, iterations = count > 2 ? atoi(words[2]) : 100, rows = n / ranks;
    double *old = calloc((rows + 2) * n, sizeof *old), *new = calloc((rows + 2) * n, sizeof *new);
    if (rank == 0)
        for (int j = 0; j < n; j++)
            old[j] = new[j] = 100.0;
    int up = rank > 0 ? rank - 1 : MPI_PROC_NULL, down = rank < ranks - 1 ? rank + 1 : MPI_PROC_NULL;
    double begun = MPI_Wtime(), last = begun, said = begun, gap = 0, residual = 0;
    printf("JACOBI rank %d of %d on %s\n", rank, ranks, host);
    fflush(stdout);
    for (int k = 1; k <= iterations; k++) {
        MPI_Sendrecv(old + n, n, MPI_DOUBLE, up, 0, old + (rows + 1) * n, n, MPI_DOUBLE, down, 0, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
        MPI_Sendrecv(old + rows * n, n, MPI_DOUBLE, down, 1, old, n, MPI_DOUBLE, up, 1, MPI_COMM_WORLD,
                     MPI_STATUS_IGNORE);
        double sum = 0;
        for (int i = 1; i <= rows; i++)
            for (int j = 1; j < n - 1; j++) {
                double x = .25 * (old[(i - 1) * n + j] + old[(i + 1) * n + j] + old[i * n + j - 1] + old[i * n + j + 1]);
                sum += (x - old[i * n + j]) * (x - old[i * n + j]);
                new[i * n + j] = x;
            }
        MPI_Allreduce(&sum, &residual, 1, MPI_DOUBLE, MPI_SUM, MPI_COMM_WORLD);
        double *swap = old;
        old = new;
        new = swap;
        if (rank == 0)
            for (int j = 0; j < n; j++)
                old[j] = 100.0;
        double now = MPI_Wtime();
        if (now - last > gap)
            gap = now - last;
        last = now;
        if (rank == 0 && (now - said >= 1 || k == iterations)) {
            printf("JACOBI %d t=%.3f residual=%.15g gap=%.3f\n", k, now - begun, residual, gap);
            fflush(stdout);
            said = now, gap = 0;
        }
    }
    if (rank == 0)
        printf("JACOBI DONE residual=%.15g\n", residual);
    MPI_Finalize();
    return 0;
}

// jacobi N ITERATIONS: Jacobi sweeps over an N by N grid in blocks of rows, with the halo exchange and the global
// residual of a regional weather model's solver; after each, a message goes to and fro between ranks 0 and 1 and is
// changed by both. Rank 0 tells the residual and the message's sum: neither survives a lost, doubled or stale byte.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

#define WORDS 128

static unsigned long message[WORDS];

static void change(int rank)
{
    for (int i = 0; i < WORDS; i++)
        message[i] = message[i] * 6364136223846793005UL + 1442695040888963407UL + i + rank;
}

static double pingpong_s(int rank, int tag)
{
    double begun = MPI_Wtime();
    if (rank == 0) {
        change(rank);
        MPI_Send(message, WORDS, MPI_UNSIGNED_LONG, 1, tag, MPI_COMM_WORLD);
        MPI_Recv(message, WORDS, MPI_UNSIGNED_LONG, 1, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    } else if (rank == 1) {
        MPI_Recv(message, WORDS, MPI_UNSIGNED_LONG, 0, tag, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        change(rank);
        MPI_Send(message, WORDS, MPI_UNSIGNED_LONG, 0, tag, MPI_COMM_WORLD);
    }
    return MPI_Wtime() - begun;
}

int main(int count, char **words)
{
    int rank, ranks, length;
    char host[MPI_MAX_PROCESSOR_NAME];
    MPI_Init(&count, &words);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Get_processor_name(host, &length);
    if (count != 3 || ranks < 2) {
        fprintf(stderr, "usage: jacobi N ITERATIONS, with two ranks at least\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    int n = atoi(words[1]), iterations = atoi(words[2]), rows = n / ranks;
    double *old = calloc((rows + 2) * n, sizeof *old), *new = calloc((rows + 2) * n, sizeof *new);
    if (rank == 0)
        for (int j = 0; j < n; j++)
            old[j] = new[j] = 100.0;
    int up = rank > 0 ? rank - 1 : MPI_PROC_NULL, down = rank < ranks - 1 ? rank + 1 : MPI_PROC_NULL;
    double begun = MPI_Wtime(), last = begun, said = begun, gap = 0, residual = 0, pingpongs = 0;
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
        pingpongs += pingpong_s(rank, k);
        double now = MPI_Wtime();
        if (now - last > gap)
            gap = now - last;
        last = now;
        if (rank == 0 && (now - said >= 1 || k == iterations)) {
            printf("JACOBI %d t=%.3f gap=%.3f pingpong_s=%.6f\n", k, now - begun, gap, pingpongs / k);
            fflush(stdout);
            said = now;
        }
    }
    unsigned long sum = 0;
    for (int i = 0; i < WORDS; i++)
        sum += message[i];
    if (rank == 0)
        printf("JACOBI DONE residual=%.15g message=%lu\n", residual, sum);
    MPI_Finalize();
    return 0;
}

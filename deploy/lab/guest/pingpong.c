// pingpong BYTES ROUNDS: one message to and fro between ranks 0 and 1, changed by each; rank 0 tells the sum, which no
// lost, doubled or damaged message leaves as it is.
#include <mpi.h>
#include <stdio.h>
#include <stdlib.h>

int main(int count, char **words)
{
    int rank;
    MPI_Init(&count, &words);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    int words_sent = (count > 1 ? atoi(words[1]) : 1024) / 8, rounds = count > 2 ? atoi(words[2]) : 1000;
    unsigned long *message = calloc(words_sent, 8), sum = 0;
    double begun = MPI_Wtime(), last = begun, gap = 0;
    for (int round = 0; round < rounds && rank < 2; round++) {
        if (rank == 0)
            MPI_Send(message, words_sent, MPI_UNSIGNED_LONG, 1, round, MPI_COMM_WORLD);
        MPI_Recv(message, words_sent, MPI_UNSIGNED_LONG, 1 - rank, round, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        for (int i = 0; i < words_sent; i++)
            message[i] = message[i] * 6364136223846793005UL + 1442695040888963407UL + i + rank;
        if (rank == 1)
            MPI_Send(message, words_sent, MPI_UNSIGNED_LONG, 0, round, MPI_COMM_WORLD);
        double now = MPI_Wtime();
        if (now - last > gap)
            gap = now - last;
        last = now;
    }
    for (int i = 0; i < words_sent; i++)
        sum += message[i];
    if (rank == 0)
        printf("PINGPONG DONE sum=%lu round_trip_us=%.0f gap=%.3f\n", sum, (last - begun) / rounds * 1e6, gap);
    MPI_Finalize();
    return 0;
}

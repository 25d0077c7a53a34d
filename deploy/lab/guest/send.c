// send ADDRESS BYTES_PER_S: send UDP datagrams of 1,000 bytes to port 9 of ADDRESS. A line a second: bytes of payload.
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define PAYLOAD 1000

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int count, char **words)
{
    static char payload[PAYLOAD];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons(9)};
    if (count != 3 || inet_pton(AF_INET, words[1], &to.sin_addr) != 1)
        return fprintf(stderr, "usage: send ADDRESS BYTES_PER_S\n"), 2;
    double per_s = atof(words[2]), last = now_s(), said = last, due = 0;
    unsigned long sent = 0, lines = 0;
    int out = socket(AF_INET, SOCK_DGRAM, 0);
    setvbuf(stdout, 0, _IOLBF, 0);
    for (;;) {
        double now = now_s();
        due += (now - last) * per_s;
        if (due > per_s)
            due = per_s; // what fell due while the guest stood still is not made up for
        last = now;
        for (; due >= PAYLOAD; due -= PAYLOAD)
            if (sendto(out, payload, PAYLOAD, 0, (struct sockaddr *)&to, sizeof to) == PAYLOAD)
                sent += PAYLOAD;
        if (now - said >= 1) {
            printf("SEND %lu t=%.3f bytes=%lu\n", ++lines, now, sent);
            said = now;
        }
        usleep(10000);
    }
}

// spin RATIO: use this share (0..1) of one CPU, in turns of 100 ms. What it cannot get from others it does not make up for.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TURN_S 0.1

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int count, char **words)
{
    if (count != 2)
        return fprintf(stderr, "usage: spin RATIO\n"), 2;
    double ratio = atof(words[1]);
    for (;;) {
        double now = now_s(), until = now + ratio * TURN_S, end = now + TURN_S;
        while (now_s() < until)
            ;
        struct timespec wake = {end, (end - (long)end) * 1e9};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, 0);
    }
}

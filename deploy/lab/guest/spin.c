// spin RATIO: use this share (0..1) of one CPU, in turns of 100 ms. A line a second: CPU time used, time passed.
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define TURN_S 0.1

static double now_s(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

int main(int count, char **words)
{
    if (count != 2)
        return fprintf(stderr, "usage: spin RATIO\n"), 2;
    double ratio = atof(words[1]), begun = now_s(CLOCK_MONOTONIC), said = begun;
    unsigned long lines = 0;
    setvbuf(stdout, 0, _IOLBF, 0);
    for (;;) {
        double now = now_s(CLOCK_MONOTONIC), until = now + ratio * TURN_S, end = now + TURN_S;
        while (now_s(CLOCK_MONOTONIC) < until)
            ;
        if (now - said >= 1) {
            printf("SPIN %lu t=%.3f cpu=%.3f\n", ++lines, now, now_s(CLOCK_PROCESS_CPUTIME_ID));
            said = now;
        }
        struct timespec wake = {end, (end - (long)end) * 1e9};
        clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &wake, 0);
    }
}

// write MIB PAGES_PER_S: write so many pages a second, in turn, in a region of MIB, and check every page that is written.
// Each page holds the number of the write that touched it last, so a page that a migration brought stale shows as `bad`.
// A line a second: how often it was said, when, pages since the last line, longest gap between two rounds, bad pages.
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define ROUND_US 20000

static double now_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec * 1e-9;
}

static volatile unsigned long *mark(volatile char *region, unsigned long page)
{
    return (volatile unsigned long *)(region + page * PAGE + 8);
}

int main(int count, char **words)
{
    if (count != 3)
        return fprintf(stderr, "usage: write MIB PAGES_PER_S\n"), 2;
    unsigned long pages = atol(words[1]) * 256, per_s = atol(words[2]);
    volatile char *region = mmap(0, pages * PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (region == MAP_FAILED)
        return perror("write"), 1;
    for (unsigned long page = 0; page < pages; page++)
        *mark(region, page) = 0;
    setvbuf(stdout, 0, _IOLBF, 0);
    double begun = now_s(), said = begun, last = begun, gap = 0;
    unsigned long done = 0, lines = 0, at_last_line = 0, bad = 0;
    unsigned long debt = 0; // writes that fell due while the guest stood still, and are not made up for
    for (;;) {
        double now = now_s();
        if (now - last > gap)
            gap = now - last;
        last = now;
        unsigned long due = (now - begun) * per_s - debt;
        if (due > done + per_s) {
            debt += due - done - per_s;
            due = done + per_s;
        }
        for (; done < due; done++) {
            volatile unsigned long *page = mark(region, done % pages);
            if (*page != (done < pages ? 0 : done - pages + 1))
                bad++;
            *page = done + 1;
        }
        if (now - said >= 1) {
            printf("WRITE %lu t=%.3f pages=%lu gap=%.3f bad=%lu\n", ++lines, now, done - at_last_line, gap, bad);
            at_last_line = done, said = now, gap = 0;
        }
        usleep(ROUND_US);
    }
}

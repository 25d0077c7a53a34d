/* A libxenstat and a libxenstore of a host that is not there: DOMAINS guests at work since this library was loaded, told
   through the functions that the agent calls. Built by benchmarks/agent.py. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define DOMAINS 64
typedef unsigned long long count;
typedef struct { unsigned id; char name[16]; } domain;

static domain domains[DOMAINS + 1];
static char token;

static double since(void) {
    static double began;
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    double now = t.tv_sec + t.tv_nsec * 1e-9;
    if (began == 0) began = now;
    return now - began;
}

void *xenstat_init(void) {
    for (unsigned n = 0; n <= DOMAINS; n++) {
        domains[n].id = n;
        snprintf(domains[n].name, sizeof domains[n].name, n ? "guest%u" : "Domain-0", n);
    }
    since();
    return &token;
}
void xenstat_uninit(void *handle) { (void)handle; }
void *xenstat_get_node(void *handle, unsigned what) { (void)what; return handle; }
void xenstat_free_node(void *node) { (void)node; }
count xenstat_node_tot_mem(void *node) { (void)node; return 512ULL << 30; }
count xenstat_node_free_mem(void *node) { (void)node; return 100ULL << 30; }
unsigned xenstat_node_num_cpus(void *node) { (void)node; return 128; }
unsigned xenstat_node_num_domains(void *node) { (void)node; return DOMAINS + 1; }
void *xenstat_node_domain_by_index(void *node, unsigned n) { (void)node; return &domains[n]; }
unsigned xenstat_domain_id(domain *d) { return d->id; }
char *xenstat_domain_name(domain *d) { return d->name; }
count xenstat_domain_cpu_ns(domain *d) { return since() * 1e9 * (0.1 + 0.01 * d->id); }
unsigned xenstat_domain_num_vcpus(domain *d) { (void)d; return 2; }
count xenstat_domain_cur_mem(domain *d) { (void)d; return 4ULL << 30; }
unsigned xenstat_domain_paused(domain *d) { (void)d; return 0; }
unsigned xenstat_domain_dying(domain *d) { (void)d; return 0; }
unsigned xenstat_domain_shutdown(domain *d) { (void)d; return 0; }
unsigned xenstat_domain_num_networks(domain *d) { return d->id != 0; }
void *xenstat_domain_network(domain *d, unsigned n) { (void)n; return d; }
count xenstat_network_rbytes(domain *d) { return since() * 1e6 * d->id; }
count xenstat_network_tbytes(domain *d) { return since() * 2e6 * d->id; }
unsigned xenstat_domain_num_vbds(domain *d) { return d->id != 0; }
void *xenstat_domain_vbd(domain *d, unsigned n) { (void)n; return d; }
count xenstat_vbd_rd_sects(domain *d) { return since() * 1e3 * d->id; }
count xenstat_vbd_wr_sects(domain *d) { return since() * 2e3 * d->id; }

void *xs_open(unsigned long flags) { (void)flags; return &token; }
void xs_close(void *handle) { (void)handle; }
char *xs_read(void *handle, unsigned transaction, const char *path, unsigned *length) {
    unsigned id;
    int end = 0;
    char *value = malloc(64);
    (void)handle, (void)transaction;
    sscanf(path, "/local/domain/%u%n", &id, &end);
    if (end && id && !strcmp(path + end, "/vm"))
        *length = snprintf(value, 64, "/vm/00000000-0000-4000-8000-%012u", id);
    else if (end && id && !strcmp(path + end, "/data/migd/progress"))
        *length = snprintf(value, 64, "%u/1000000", (unsigned)since());
    else { free(value); return NULL; }
    return value;
}

/* Times products of ggml's CPU backend. `peers/products.py` sends requests over a pipe: THREADS is the only argument.
 *
 *     quantize TYPE ROWS COLUMNS SOURCE OUT           F32 file to a file of blocks
 *     load NAME TYPE KIND ROWS COLUMNS COPIES FILE    KIND is `plain`, or the name of a buffer type that repacks
 *     free NAME
 *     time NAME INPUTS SECONDS                        answer  ok {"best": s, "median": s, "runs": n}
 *     values NAME INPUTS X Y                          multiplies the F32 file X, [inputs, columns], and writes Y
 *
 * Weights of COPIES times ROWS rows repeat the file's rows. An answer is `ok` with JSON, or `error` with a reason.
 */
#include "ggml-alloc.h"
#include "ggml-backend.h"
#include "ggml-cpu.h"
#include "ggml.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define LINE 4096
#define HELD 64
#define RUNS 100000

struct product {
    int64_t inputs;
    struct ggml_context *context;
    struct ggml_cgraph *graph;
    struct ggml_tensor *x, *y;
    ggml_backend_buffer_t buffer;
};

struct matrix {
    char name[64];
    struct ggml_context *context;
    struct ggml_tensor *weights;
    ggml_backend_buffer_t buffer;
    struct product product;
};

static struct matrix held[HELD];
static ggml_backend_t backend;
static double seconds[RUNS];

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static const char *failed(const char *why) {
    printf("error %s\n", why);
    return NULL;
}

static int type_of(const char *name) {
    for (int type = 0; type < GGML_TYPE_COUNT; type++) {
        const char *known = ggml_type_name((enum ggml_type)type);
        if (known != NULL && ggml_blck_size((enum ggml_type)type) > 0 && strcasecmp(known, name) == 0) return type;
    }
    return -1;
}

/* Reads a whole file, or returns NULL where it does not have `len` bytes. */
static void *read_file(const char *path, size_t len) {
    FILE *file = fopen(path, "rb");
    if (file == NULL) return NULL;
    void *bytes = malloc(len + 1);
    size_t found = bytes == NULL ? 0 : fread(bytes, 1, len + 1, file);
    fclose(file);
    if (found == len) return bytes;
    free(bytes);
    return NULL;
}

static int write_file(const char *path, const void *bytes, size_t len) {
    FILE *file = fopen(path, "wb");
    if (file == NULL) return 0;
    size_t written = fwrite(bytes, 1, len, file);
    return fclose(file) == 0 && written == len;
}

/* The buffer type of a kind, or NULL where this machine or this build has none of that name. */
static ggml_backend_buffer_type_t kind_of(const char *name) {
    if (strcmp(name, "plain") == 0) return ggml_backend_cpu_buffer_type();
    ggml_backend_dev_t device = ggml_backend_get_device(backend);
    ggml_backend_dev_get_extra_bufts_t extra = (ggml_backend_dev_get_extra_bufts_t)ggml_backend_reg_get_proc_address(
        ggml_backend_dev_backend_reg(device), "ggml_backend_dev_get_extra_bufts");
    ggml_backend_buffer_type_t *kinds = extra == NULL ? NULL : extra(device);
    for (; kinds != NULL && *kinds != NULL; kinds++) {
        if (strcasecmp(ggml_backend_buft_name(*kinds), name) == 0) return *kinds;
    }
    return NULL;
}

static struct matrix *find(const char *name) {
    for (int i = 0; i < HELD; i++) {
        if (strcmp(held[i].name, name) == 0) return &held[i];
    }
    return NULL;
}

static void release(struct product *product) {
    if (product->context == NULL) return;
    ggml_backend_buffer_free(product->buffer);
    ggml_free(product->context);
    memset(product, 0, sizeof *product);
}

static struct ggml_context *new_context(void) {
    struct ggml_init_params params = {16 * ggml_tensor_overhead() + ggml_graph_overhead(), NULL, true};
    return ggml_init(params);
}

/* Prepares the product with a number of input rows. */
static int prepare(struct matrix *matrix, int64_t inputs) {
    struct product *product = &matrix->product;
    if (product->inputs == inputs) return 1;
    release(product);
    product->context = new_context();
    product->x = ggml_new_tensor_2d(product->context, GGML_TYPE_F32, matrix->weights->ne[0], inputs);
    product->y = ggml_mul_mat(product->context, matrix->weights, product->x);
    product->buffer = ggml_backend_alloc_ctx_tensors(product->context, backend);
    if (product->buffer == NULL) return 0;
    product->graph = ggml_new_graph(product->context);
    ggml_build_forward_expand(product->graph, product->y);
    float *x = product->x->data;
    for (int64_t i = 0; i < ggml_nelements(product->x); i++) x[i] = (float)(i * 2654435761u % 255) - 127.0f;
    product->inputs = inputs;
    return ggml_backend_supports_op(backend, product->y);
}

static const char *quantize(char *words) {
    char name[64], source[LINE], out[LINE];
    long long rows, columns;
    if (sscanf(words, "%63s %lld %lld %4095s %4095s", name, &rows, &columns, source, out) != 5) return failed("words");
    int type = type_of(name);
    if (type < 0) return failed("no such type");
    float *floats = read_file(source, (size_t)(rows * columns) * sizeof *floats);
    size_t len = (size_t)rows * ggml_row_size((enum ggml_type)type, columns);
    void *blocks = malloc(len);
    int done = floats != NULL && blocks != NULL;
    if (done) {
        ggml_quantize_chunk((enum ggml_type)type, floats, blocks, 0, rows, columns, NULL);
        done = write_file(out, blocks, len);
    }
    free(blocks);
    free(floats);
    return done ? "{}" : failed("a file cannot be read or written");
}

static const char *load(char *words) {
    char name[64], type_name[64], kind_name[64], path[LINE];
    long long rows, columns, copies;
    if (sscanf(words, "%63s %63s %63s %lld %lld %lld %4095s", name, type_name, kind_name, &rows, &columns, &copies, path) != 7)
        return failed("words");
    struct matrix *matrix = find("");
    int type = type_of(type_name);
    ggml_backend_buffer_type_t kind = kind_of(kind_name);
    if (matrix == NULL || type < 0) return failed("no such type, or too many matrices");
    if (kind == NULL) return failed("this build has no such buffer type");
    size_t len = (size_t)rows * ggml_row_size((enum ggml_type)type, columns);
    char *blocks = read_file(path, len);
    char *all = malloc(len * (size_t)copies);
    if (blocks == NULL || all == NULL) return failed("the file has another length");
    for (long long copy = 0; copy < copies; copy++) memcpy(all + len * (size_t)copy, blocks, len);
    matrix->context = new_context();
    matrix->weights = ggml_new_tensor_2d(matrix->context, (enum ggml_type)type, columns, rows * copies);
    matrix->buffer = ggml_backend_buft_alloc_buffer(kind, ggml_backend_buft_get_alloc_size(kind, matrix->weights));
    ggml_backend_tensor_alloc(matrix->buffer, matrix->weights, ggml_backend_buffer_get_base(matrix->buffer));
    int repacks = strcmp(kind_name, "plain") != 0;
    if (repacks && matrix->weights->extra == NULL) {
        ggml_backend_buffer_free(matrix->buffer);
        ggml_free(matrix->context);
        memset(matrix, 0, sizeof *matrix);
        free(blocks);
        free(all);
        return failed("this type is not repacked");
    }
    ggml_backend_tensor_set(matrix->weights, all, 0, len * (size_t)copies);
    ggml_backend_buffer_set_usage(matrix->buffer, GGML_BACKEND_BUFFER_USAGE_WEIGHTS);
    free(blocks);
    free(all);
    strcpy(matrix->name, name);
    return "{}";
}

static const char *drop(char *words) {
    char name[64];
    struct matrix *matrix = sscanf(words, "%63s", name) == 1 ? find(name) : NULL;
    if (matrix == NULL) return failed("no such matrix");
    release(&matrix->product);
    ggml_backend_buffer_free(matrix->buffer);
    ggml_free(matrix->context);
    memset(matrix, 0, sizeof *matrix);
    return "{}";
}

static int ascending(const void *a, const void *b) {
    double left = *(const double *)a, right = *(const double *)b;
    return (left > right) - (left < right);
}

static const char *measure(char *words) {
    static char answer[256];
    char name[64];
    long long inputs;
    double limit;
    if (sscanf(words, "%63s %lld %lf", name, &inputs, &limit) != 3) return failed("words");
    struct matrix *matrix = find(name);
    if (matrix == NULL || !prepare(matrix, inputs)) return failed("no such matrix, or no such product");
    int runs = 0;
    double started = now();
    ggml_backend_graph_compute(backend, matrix->product.graph);
    while (runs < RUNS && (runs < 3 || now() - started < limit)) {
        double before = now();
        if (ggml_backend_graph_compute(backend, matrix->product.graph) != GGML_STATUS_SUCCESS) return failed("compute");
        seconds[runs++] = now() - before;
    }
    qsort(seconds, (size_t)runs, sizeof *seconds, ascending);
    snprintf(answer, sizeof answer, "{\"best\": %.9f, \"median\": %.9f, \"runs\": %d}", seconds[0], seconds[runs / 2], runs);
    return answer;
}

static const char *values(char *words) {
    char name[64], in[LINE], out[LINE];
    long long inputs;
    if (sscanf(words, "%63s %lld %4095s %4095s", name, &inputs, in, out) != 4) return failed("words");
    struct matrix *matrix = find(name);
    if (matrix == NULL || !prepare(matrix, inputs)) return failed("no such matrix, or no such product");
    struct product *product = &matrix->product;
    void *x = read_file(in, ggml_nbytes(product->x));
    if (x == NULL) return failed("the input has another length");
    memcpy(product->x->data, x, ggml_nbytes(product->x));
    free(x);
    ggml_backend_graph_compute(backend, product->graph);
    return write_file(out, product->y->data, ggml_nbytes(product->y)) ? "{}" : failed("the output cannot be written");
}

int main(int count, char **arguments) {
    int threads = count > 1 ? atoi(arguments[1]) : 1;
    backend = ggml_backend_cpu_init();
    struct ggml_threadpool_params params = ggml_threadpool_params_default(threads);
    ggml_backend_cpu_set_n_threads(backend, threads);
    ggml_backend_cpu_set_threadpool(backend, ggml_threadpool_new(&params));
    static char line[4 * LINE];
    while (fgets(line, sizeof line, stdin) != NULL) {
        char *words = strchr(line, ' ');
        const char *answer = NULL;
        if (words == NULL) failed("words");
        else {
            *words++ = 0;
            if (strcmp(line, "quantize") == 0) answer = quantize(words);
            else if (strcmp(line, "load") == 0) answer = load(words);
            else if (strcmp(line, "free") == 0) answer = drop(words);
            else if (strcmp(line, "time") == 0) answer = measure(words);
            else if (strcmp(line, "values") == 0) answer = values(words);
            else failed("expected quantize, load, free, time or values");
        }
        if (answer != NULL) printf("ok %s\n", answer);
        fflush(stdout);
    }
    return 0;
}

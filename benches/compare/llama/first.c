/* Times a first token with llama.cpp: from the call that loads the model until the likeliest next token is known.
 *
 *     llama-first MODEL.gguf THREADS REPACK TOKEN…
 *
 * Prints a line of JSON: seconds from the load call, of which the load took so many, and the token.
 */
#include "llama.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define PROMPT 64

static double now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + 1e-9 * (double)time.tv_nsec;
}

static void silent(enum ggml_log_level level, const char *text, void *data) {
    (void)level, (void)text, (void)data;
}

static int fail(const char *what) {
    fprintf(stderr, "%s\n", what);
    return 1;
}

int main(int count, char **words) {
    if (count < 5 || count - 4 > PROMPT) {
        return fail("expected MODEL.gguf THREADS REPACK and 1 to 64 tokens");
    }
    llama_token prompt[PROMPT];
    int length = count - 4;
    for (int at = 0; at < length; at++) {
        prompt[at] = atoi(words[4 + at]);
    }
    llama_log_set(silent, NULL);
    llama_backend_init();

    double start = now();
    struct llama_model_params how = llama_model_default_params();
    how.n_gpu_layers = 0;
    how.use_extra_bufts = atoi(words[3]) != 0;
    struct llama_model *model = llama_model_load_from_file(words[1], how);
    if (!model) {
        return fail("the model does not load");
    }
    struct llama_context_params with = llama_context_default_params();
    with.n_ctx = 512;
    with.n_threads = with.n_threads_batch = atoi(words[2]);
    struct llama_context *context = llama_init_from_model(model, with);
    if (!context) {
        return fail("no context");
    }
    double loaded = now();
    if (llama_decode(context, llama_batch_get_one(prompt, length))) {
        return fail("the prompt does not run");
    }
    const float *logits = llama_get_logits_ith(context, -1);
    int vocabulary = llama_vocab_n_tokens(llama_model_get_vocab(model)), best = 0;
    for (int token = 1; token < vocabulary; token++) {
        best = logits[token] > logits[best] ? token : best;
    }
    double done = now();
    printf("{\"seconds\": %.6f, \"load\": %.6f, \"token\": %d}\n", done - start, loaded - start, best);
    llama_free(context);
    llama_model_free(model);
    return 0;
}

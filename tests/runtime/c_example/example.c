/* Runs a plan from C: tokenizes a prompt, prefills it and prints greedily chosen tokens as they
 * come.
 *
 *   cc example.c -lsinter -o example && ./example model.plan "Once upon a time" 32 */
#include <stdio.h>
#include <stdlib.h>

#include "sinter.h"

static int fail(char* error) {
  fprintf(stderr, "error: %s\n", error != NULL ? error : "out of memory");
  sinter_free_string(error);
  return 1;
}

/* Prints the text that is complete with this token; a negative token prints the rest. */
static int print_token(sinter_session* session, int32_t token, char** error) {
  const char* text = NULL;
  size_t bytes = 0;
  if (sinter_token_text(session, token, &text, &bytes, error) != SINTER_OK) return 1;
  fwrite(text, 1, bytes, stdout);
  fflush(stdout);
  return 0;
}

/* The prompt's tokens, to be freed; NULL on error. */
static int32_t* tokenize(const sinter_model* model, const char* prompt, size_t* count,
                         char** error) {
  *count = 0;
  /* The first call fails but says how many there are. */
  if (sinter_tokenize(model, prompt, 1, NULL, count, error) != SINTER_OK && *count == 0)
    return NULL;
  sinter_free_string(*error);
  *error = NULL;
  int32_t* tokens = malloc((*count + 1) * sizeof(int32_t));
  if (tokens == NULL) return NULL;
  if (sinter_tokenize(model, prompt, 1, tokens, count, error) == SINTER_OK) return tokens;
  free(tokens);
  return NULL;
}

static int generate(sinter_model* model, sinter_session* session, const char* prompt, long length,
                    char** error) {
  const sinter_sampling greedy = {0.0f, 0, 1.0f, 0};
  size_t count = 0;
  int32_t* tokens = tokenize(model, prompt, &count, error);
  if (tokens == NULL) return 1;
  const sinter_status prefilled = sinter_prefill(session, tokens, count, error);
  free(tokens);
  if (prefilled != SINTER_OK) return 1;
  for (long i = 0; i < length; ++i) {
    int32_t token = 0;
    if (sinter_sample(session, &greedy, &token, error) != SINTER_OK) return 1;
    if (sinter_is_end(model, token)) break;
    if (print_token(session, token, error) != 0) return 1;
    if (i + 1 < length && sinter_decode(session, token, error) != SINTER_OK) return 1;
  }
  if (print_token(session, -1, error) != 0) return 1;
  printf("\n");
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 4) {
    fprintf(stderr, "usage: %s PLAN PROMPT TOKENS\n", argv[0]);
    return 2;
  }
  char* error = NULL;
  sinter_model* model = NULL;
  sinter_session* session = NULL;
  if (sinter_load(argv[1], 0, &model, &error) != SINTER_OK) return fail(error);
  int failed = sinter_create_session(model, 0, &session, &error) != SINTER_OK ||
               generate(model, session, argv[2], strtol(argv[3], NULL, 10), &error) != 0;
  if (failed) fail(error);
  sinter_free_session(session);
  sinter_free_model(model);
  return failed;
}

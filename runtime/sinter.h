/* sinter: run compiled models from C.
 *
 * Every function that can fail returns SINTER_OK or an error code and, when `error` is not NULL,
 * stores a message there that the caller frees with sinter_free_string. Objects are not
 * thread-safe; different sessions of one model may be used from different threads one at a time. */
#ifndef SINTER_H_
#define SINTER_H_

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct sinter_model sinter_model;
typedef struct sinter_session sinter_session;

typedef enum { SINTER_OK = 0, SINTER_ERROR = 1 } sinter_status;

typedef struct {
  float temperature; /* 0: greedy */
  int32_t top_k;     /* 0: off */
  float top_p;       /* 1: off */
  uint64_t seed;
} sinter_sampling;

/* The plan is mapped, not copied: it must neither be truncated nor written to as long as the model
 * lives (replacing it by renaming is fine). Its code is loaded into the process: see SECURITY.md.
 * threads: 0 for all that the process may use. */
sinter_status sinter_load(const char* plan_path, int32_t threads, sinter_model** model,
                          char** error);
/* The same on a device: "host", or a GPU by its number, "hip:0" (AMD) or "cuda:0" (NVIDIA). */
sinter_status sinter_load_on(const char* plan_path, const char* device, int32_t threads,
                             sinter_model** model, char** error);
/* Sessions of it may live on; memory goes with the last of them. NULL is allowed here and in the
 * other free functions. */
void sinter_free_model(sinter_model* model);

int64_t sinter_vocab_size(const sinter_model* model);
int64_t sinter_max_context(const sinter_model* model);
int32_t sinter_is_end(const sinter_model* model,
                      int32_t token); /* 1 for an end-of-sequence token */

/* Encodes UTF-8 text. *count holds the capacity of `tokens` on entry and the number needed on
 * return; an error when it is too small. */
sinter_status sinter_tokenize(const sinter_model* model, const char* text, int32_t add_special,
                              int32_t* tokens, size_t* count, char** error);
/* The bytes of one token appended to what came before it: complete UTF-8 sequences only, the rest
 * is held back in the session. Special tokens have no text. A negative token ends the text: it
 * gives what was held back. A token beyond the vocabulary is an error. The text ends with a zero
 * byte not counted in *bytes and is valid until the next call with this session. */
sinter_status sinter_token_text(sinter_session* session, int32_t token, const char** text,
                                size_t* bytes, char** error);

/* context: positions to make room for, 0 for the plan's maximum. */
sinter_status sinter_create_session(sinter_model* model, int64_t context, sinter_session** session,
                                    char** error);
void sinter_free_session(sinter_session* session);
void sinter_reset(sinter_session* session);
int64_t sinter_position(const sinter_session* session);

/* Append tokens to the sequence. Error, among others: logits that are infinite or NaN. The tokens
 * are then part of the sequence, which is of no use any more: reset it. (On a GPU logits stay
 * there, and the error is that of the call that needs them.) In a child of fork() every step is an
 * error: load the model there. */
sinter_status sinter_prefill(sinter_session* session, const int32_t* tokens, size_t count,
                             char** error);
sinter_status sinter_decode(sinter_session* session, int32_t token, char** error);
/* float32 [vocab_size] for the last token; valid until the next call with this session. NULL before
 * the first step, and when they are not numbers or a GPU failed to give them: the next step is then
 * the error. */
const float* sinter_logits(const sinter_session* session);
/* Draws a token from the last logits. The draw depends on the logits, `sampling` and the number of
 * draws since the session was created or reset. */
sinter_status sinter_sample(sinter_session* session, const sinter_sampling* sampling,
                            int32_t* token, char** error);

/* Draws up to `count` tokens, each from the logits of the step before it, and decodes them: calls
 * sink with a token, which stops by returning 0, then decodes it, and so on. Every token that sink
 * got but the last is then part of the sequence. On a GPU this is the fast way: tokens do not wait
 * for the host. */
sinter_status sinter_generate(sinter_session* session, const sinter_sampling* sampling,
                              int64_t count, int32_t (*sink)(int32_t token, void* data), void* data,
                              char** error);

void sinter_free_string(char* text);
const char* sinter_version(void);

#ifdef __cplusplus
}
#endif

#endif /* SINTER_H_ */

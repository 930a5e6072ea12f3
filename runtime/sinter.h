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

/* ---- Several sequences in one session. Sequence 0 is there from the start, and is what the
 * functions above are about. What a sequence gets does not depend on the others: decoded with up to
 * 32 rows to a step it has the bits that it has alone. Errors leave everything as it was: no such
 * sequence, one that was removed, none free, no room. */

typedef struct {
  int64_t context;   /* positions of a sequence; 0: the plan's maximum */
  int64_t sequences; /* at a time, snapshots among them */
  int64_t positions; /* of all sequences together; 0: the context of each */
} sinter_session_options;

sinter_status sinter_create_session_of(sinter_model* model, const sinter_session_options* options,
                                       sinter_session** session, char** error);

/* An empty sequence; *sequence is its number. */
sinter_status sinter_add_sequence(sinter_session* session, int32_t* sequence, char** error);
/* One that goes on where `sequence` is. What both have is kept once. */
sinter_status sinter_fork(sinter_session* session, int32_t sequence, int32_t* copy, char** error);
/* Takes back all tokens from position `position` on, as if they had never been. */
sinter_status sinter_truncate(sinter_session* session, int32_t sequence, int64_t position,
                              char** error);
sinter_status sinter_remove_sequence(sinter_session* session, int32_t sequence, char** error);

/* A sequence as it was. It belongs to its session, takes the place of a sequence there, and is
 * freed before the session. */
typedef struct sinter_snapshot sinter_snapshot;
sinter_status sinter_take_snapshot(sinter_session* session, int32_t sequence,
                                   sinter_snapshot** snapshot, char** error);
/* `sequence` becomes what it was. Error: a snapshot of another session. */
sinter_status sinter_restore(sinter_session* session, int32_t sequence,
                             const sinter_snapshot* snapshot, char** error);
void sinter_free_snapshot(sinter_snapshot* snapshot);

/* Tokens for one sequence; the last `logits_rows` of them get logits. */
typedef struct {
  int32_t sequence;
  const int32_t* tokens;
  size_t count;
  int64_t logits_rows;
} sinter_part;
/* Appends to several sequences in one step, of as many rows as there are tokens. */
sinter_status sinter_step(sinter_session* session, const sinter_part* parts, size_t count,
                          char** error);

/* What a sequence draws, for sinter_generate_many. */
typedef struct {
  int32_t sequence;
  sinter_sampling sampling;
  int64_t count; /* tokens at most */
} sinter_draw;
/* As sinter_generate, for several sequences at a time, each with sampling and an end of its own:
 * calls sink with the number of the draw among `draws` and a token. */
sinter_status sinter_generate_many(sinter_session* session, const sinter_draw* draws, size_t count,
                                   int32_t (*sink)(size_t draw, int32_t token, void* data),
                                   void* data, char** error);

/* ---- Drafts: of plans that were compiled with --mtp, whose model has a multi-token-prediction
 * head. After a step the head goes over the positions that the model has read, each with the token
 * that follows it, and says what comes behind that token. */

int32_t sinter_has_mtp(const sinter_model* model); /* 1 or 0 */

/* Rows of the head: that of `position` has tokens[0], which follows it, and so on; the last
 * `logits_rows` of them get logits. A row needs the hidden state of its position: those of the
 * sequence's last step are at hand, and what a row leaves is that of the position behind it, so
 * that the head can draft one token after another, beyond what the model has read. The head
 * remembers the tokens: those that follow what was read should be what is read next. */
typedef struct {
  int32_t sequence;
  int64_t position; /* at most sinter_drafted: no position is left out */
  const int32_t* tokens;
  size_t count;
  int64_t logits_rows;
} sinter_draft_part;
/* For several sequences in one step. What the model has read stays as it is. Errors leave
 * everything as it was. */
sinter_status sinter_draft(sinter_session* session, const sinter_draft_part* parts, size_t count,
                           char** error);
/* float32 [rows, vocab_size] for the last `rows` rows that the sequence's last draft gave logits;
 * valid until the next call with this session. */
sinter_status sinter_draft_logits(const sinter_session* session, int32_t sequence, int64_t rows,
                                  const float** logits, char** error);
/* Positions that the head has gone over. */
int64_t sinter_drafted(const sinter_session* session, int32_t sequence);

int64_t sinter_position_of(const sinter_session* session, int32_t sequence);
/* float32 [rows, vocab_size] for the last `rows` rows that the sequence's last step gave logits. */
sinter_status sinter_logits_of(const sinter_session* session, int32_t sequence, int64_t rows,
                               const float** logits, char** error);

void sinter_free_string(char* text);
const char* sinter_version(void);

#ifdef __cplusplus
}
#endif

#endif /* SINTER_H_ */

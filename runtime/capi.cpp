// The C API. Nothing thrown leaves it.
#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <exception>
#include <memory>
#include <optional>
#include <string>

#include "runtime/session/sampler.h"
#include "runtime/session/session.h"
#include "runtime/sinter.h"
#include "runtime/text/tokenizer/tokenizer.h"

namespace rt = sinter::runtime;

struct sinter_model {
  std::shared_ptr<rt::Model> model;
  std::optional<rt::Tokenizer> tokenizer;  // absent when the plan has none
};

struct sinter_session {
  std::unique_ptr<rt::Session> session;
  std::optional<rt::StreamingDecoder> decoder;
  int64_t token_limit = 0;  // ids from here on are of no token
  std::string text;         // of the last token
};

struct sinter_snapshot {
  sinter_session* session;
  int32_t number;  // among its sequences
};

namespace {

void set_error(char** error, std::string_view message) {
  if (error == nullptr) return;
  *error = static_cast<char*>(std::malloc(message.size() + 1));
  if (*error == nullptr) return;
  std::memcpy(*error, message.data(), message.size());
  (*error)[message.size()] = 0;
}

// Runs f, which gives a Status, and turns what goes wrong into an error of `function`.
template <class Function>
sinter_status guarded(const char* function, char** error, Function f) noexcept {
  if (error != nullptr) *error = nullptr;
  try {
    const rt::Status status = f();
    if (status.ok()) return SINTER_OK;
    set_error(error, fmt::format("{}: {}", function, status.error().message));
  } catch (const std::bad_alloc&) {
    set_error(error, "out of memory");
  } catch (const std::exception& exception) {
    try {
      set_error(error, fmt::format("{}: {}", function, exception.what()));
    } catch (...) {
      set_error(error, "out of memory");
    }
  } catch (...) {
    set_error(error, "unknown failure");
  }
  return SINTER_ERROR;
}

rt::SamplingOptions sampling_options(const sinter_sampling& sampling) {
  rt::SamplingOptions options;
  options.temperature = sampling.temperature;
  options.top_k = sampling.top_k;
  options.top_p = sampling.top_p;
  options.seed = sampling.seed;
  return options;
}

rt::Error null_argument(const char* name) { return {fmt::format("{} is NULL", name)}; }

rt::Status load(const char* path, const char* device, int32_t threads, sinter_model** out) {
  auto file = rt::PlanFile::open(path, false);
  if (!file.ok()) return file.error();
  rt::LoadOptions options;
  options.threads = threads;
  options.device = device;
  auto model = rt::Model::load(*file, options);
  if (!model.ok()) return model.error();
  auto loaded = std::make_unique<sinter_model>();
  const rt::Plan& plan = (*file)->plan();
  if (plan.tokenizer.bytes != 0) {
    auto tokenizer = rt::Tokenizer::from_json((*file)->text(plan.tokenizer),
                                              (*file)->text(plan.tokenizer_config));
    if (!tokenizer.ok()) return rt::Error{fmt::format("{}: {}", path, tokenizer.error().message)};
    loaded->tokenizer = std::move(*tokenizer);
  }
  loaded->model = std::move(*model);
  *out = loaded.release();
  return rt::Done{};
}

rt::Status create_session(sinter_model* model, const rt::SessionOptions& options,
                          sinter_session** session) {
  if (session == nullptr) return null_argument("session");
  *session = nullptr;
  if (model == nullptr) return null_argument("model");
  auto created = rt::Session::create(model->model, options);
  if (!created.ok()) return created.error();
  auto result = std::make_unique<sinter_session>();
  result->session = std::move(*created);
  if (model->tokenizer) {
    result->decoder.emplace(*model->tokenizer, true);
    // Models may have more rows than there are tokens: those have no text.
    result->token_limit =
        std::max<int64_t>(model->tokenizer->vocab_size(), model->model->plan().vocab_size);
  }
  *session = result.release();
  return rt::Done{};
}

// The number of a sequence that a call makes.
rt::Status give(const rt::Result<int>& made, int32_t* number) {
  if (!made.ok()) return made.error();
  *number = *made;
  return rt::Done{};
}

}  // namespace

extern "C" {

sinter_status sinter_load(const char* plan_path, int32_t threads, sinter_model** model,
                          char** error) {
  return guarded("sinter_load", error, [&]() -> rt::Status {
    if (model == nullptr) return null_argument("model");
    *model = nullptr;
    if (plan_path == nullptr) return null_argument("plan_path");
    return load(plan_path, "host", threads, model);
  });
}

sinter_status sinter_load_on(const char* plan_path, const char* device, int32_t threads,
                             sinter_model** model, char** error) {
  return guarded("sinter_load_on", error, [&]() -> rt::Status {
    if (model == nullptr) return null_argument("model");
    *model = nullptr;
    if (plan_path == nullptr) return null_argument("plan_path");
    if (device == nullptr) return null_argument("device");
    return load(plan_path, device, threads, model);
  });
}

void sinter_free_model(sinter_model* model) { delete model; }

int64_t sinter_vocab_size(const sinter_model* model) {
  return model == nullptr ? 0 : model->model->plan().vocab_size;
}

int64_t sinter_max_context(const sinter_model* model) {
  return model == nullptr ? 0 : model->model->plan().max_context;
}

int32_t sinter_is_end(const sinter_model* model, int32_t token) {
  if (model == nullptr) return 0;
  const std::vector<int32_t>& ids = model->model->plan().eos_ids;
  return std::find(ids.begin(), ids.end(), token) != ids.end() ? 1 : 0;
}

sinter_status sinter_tokenize(const sinter_model* model, const char* text, int32_t add_special,
                              int32_t* tokens, size_t* count, char** error) {
  return guarded("sinter_tokenize", error, [&]() -> rt::Status {
    if (model == nullptr) return null_argument("model");
    if (text == nullptr) return null_argument("text");
    if (count == nullptr) return null_argument("count");
    const size_t capacity = *count;
    *count = 0;
    if (tokens == nullptr && capacity != 0) return null_argument("tokens");
    if (!model->tokenizer) return rt::Error{"the plan has no tokenizer"};
    const auto ids = model->tokenizer->encode(text, add_special != 0);
    if (!ids.ok()) return ids.error();
    *count = ids->size();
    if (ids->size() > capacity) {
      return rt::Error{fmt::format("{} tokens do not fit into {}", ids->size(), capacity)};
    }
    std::copy(ids->begin(), ids->end(), tokens);
    return rt::Done{};
  });
}

sinter_status sinter_token_text(sinter_session* session, int32_t token, const char** text,
                                size_t* bytes, char** error) {
  return guarded("sinter_token_text", error, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    if (text == nullptr) return null_argument("text");
    if (bytes == nullptr) return null_argument("bytes");
    *text = "";
    *bytes = 0;
    if (!session->decoder) return rt::Error{"the plan has no tokenizer"};
    if (token >= session->token_limit)
      return rt::Error{
          fmt::format("there is no token {}: ids end at {}", token, session->token_limit - 1)};
    session->text = token < 0 ? session->decoder->flush() : session->decoder->push(token);
    if (rt::Status status = session->decoder->status(); !status.ok()) return status;
    *text = session->text.c_str();
    *bytes = session->text.size();
    return rt::Done{};
  });
}

sinter_status sinter_create_session(sinter_model* model, int64_t context, sinter_session** session,
                                    char** error) {
  return guarded("sinter_create_session", error, [&]() -> rt::Status {
    return create_session(model, {.context = context}, session);
  });
}

sinter_status sinter_create_session_of(sinter_model* model, const sinter_session_options* options,
                                       sinter_session** session, char** error) {
  return guarded("sinter_create_session_of", error, [&]() -> rt::Status {
    if (options == nullptr) return null_argument("options");
    return create_session(model,
                          {.context = options->context,
                           .sequences = options->sequences,
                           .positions = options->positions},
                          session);
  });
}

void sinter_free_session(sinter_session* session) { delete session; }

void sinter_reset(sinter_session* session) {
  guarded("sinter_reset", nullptr, [&]() -> rt::Status {
    if (session == nullptr) return rt::Done{};
    session->session->reset();
    if (session->decoder) session->decoder->flush();
    return rt::Done{};
  });
}

int64_t sinter_position(const sinter_session* session) {
  return session == nullptr ? 0 : session->session->position();
}

sinter_status sinter_prefill(sinter_session* session, const int32_t* tokens, size_t count,
                             char** error) {
  return guarded("sinter_prefill", error, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    if (tokens == nullptr && count != 0) return null_argument("tokens");
    return session->session->prefill({tokens, count});
  });
}

sinter_status sinter_decode(sinter_session* session, int32_t token, char** error) {
  return guarded("sinter_decode", error, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    return session->session->decode(token);
  });
}

const float* sinter_logits(const sinter_session* session) {
  const float* found = nullptr;
  guarded("sinter_logits", nullptr, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    const std::span<const float> logits = session->session->logits();
    if (!logits.empty()) found = logits.data();
    return rt::Done{};
  });
  return found;
}

sinter_status sinter_sample(sinter_session* session, const sinter_sampling* sampling,
                            int32_t* token, char** error) {
  return guarded("sinter_sample", error, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    if (sampling == nullptr) return null_argument("sampling");
    if (token == nullptr) return null_argument("token");
    *token = -1;
    return session->session->generate(sampling_options(*sampling), 1, [&](int32_t drawn) {
      *token = drawn;
      return true;
    });
  });
}

sinter_status sinter_generate(sinter_session* session, const sinter_sampling* sampling,
                              int64_t count, int32_t (*sink)(int32_t token, void* data), void* data,
                              char** error) {
  return guarded("sinter_generate", error, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    if (sampling == nullptr) return null_argument("sampling");
    if (sink == nullptr) return null_argument("sink");
    return session->session->generate(sampling_options(*sampling), count,
                                      [&](int32_t token) { return sink(token, data) != 0; });
  });
}

sinter_status sinter_add_sequence(sinter_session* session, int32_t* sequence, char** error) {
  return guarded("sinter_add_sequence", error, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    if (sequence == nullptr) return null_argument("sequence");
    *sequence = -1;
    return give(session->session->add(), sequence);
  });
}

sinter_status sinter_fork(sinter_session* session, int32_t sequence, int32_t* copy, char** error) {
  return guarded("sinter_fork", error, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    if (copy == nullptr) return null_argument("copy");
    *copy = -1;
    return give(session->session->fork(sequence), copy);
  });
}

sinter_status sinter_truncate(sinter_session* session, int32_t sequence, int64_t position,
                              char** error) {
  return guarded("sinter_truncate", error, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    return session->session->truncate(sequence, position);
  });
}

sinter_status sinter_remove_sequence(sinter_session* session, int32_t sequence, char** error) {
  return guarded("sinter_remove_sequence", error, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    // Its owner would free the place of another.
    if (session->session->is_snapshot(sequence))
      return rt::Error{std::to_string(sequence) +
                       " is a snapshot, which goes by sinter_free_snapshot"};
    return session->session->remove(sequence);
  });
}

sinter_status sinter_take_snapshot(sinter_session* session, int32_t sequence,
                                   sinter_snapshot** snapshot, char** error) {
  return guarded("sinter_take_snapshot", error, [&]() -> rt::Status {
    if (snapshot == nullptr) return null_argument("snapshot");
    *snapshot = nullptr;
    if (session == nullptr) return null_argument("session");
    auto taken = std::make_unique<sinter_snapshot>(sinter_snapshot{session, -1});
    if (rt::Status s = give(session->session->snapshot(sequence), &taken->number); !s.ok())
      return s;
    *snapshot = taken.release();
    return rt::Done{};
  });
}

sinter_status sinter_restore(sinter_session* session, int32_t sequence,
                             const sinter_snapshot* snapshot, char** error) {
  return guarded("sinter_restore", error, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    if (snapshot == nullptr) return null_argument("snapshot");
    if (snapshot->session != session) return rt::Error{"the snapshot is of another session"};
    return session->session->restore(sequence, snapshot->number);
  });
}

void sinter_free_snapshot(sinter_snapshot* snapshot) {
  guarded("sinter_free_snapshot", nullptr, [&]() -> rt::Status {
    const std::unique_ptr<sinter_snapshot> owned(snapshot);
    return snapshot == nullptr ? rt::Status(rt::Done{})
                               : snapshot->session->session->remove(snapshot->number);
  });
}

sinter_status sinter_step(sinter_session* session, const sinter_part* parts, size_t count,
                          char** error) {
  return guarded("sinter_step", error, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    if (parts == nullptr && count != 0) return null_argument("parts");
    std::vector<rt::Session::Part> all;
    for (size_t i = 0; i < count; ++i) {
      if (parts[i].tokens == nullptr && parts[i].count != 0) return null_argument("tokens");
      all.push_back({parts[i].sequence, {parts[i].tokens, parts[i].count}, parts[i].logits_rows});
    }
    return session->session->step(all);
  });
}

sinter_status sinter_generate_many(sinter_session* session, const sinter_draw* draws, size_t count,
                                   int32_t (*sink)(size_t draw, int32_t token, void* data),
                                   void* data, char** error) {
  return guarded("sinter_generate_many", error, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    if (draws == nullptr && count != 0) return null_argument("draws");
    if (sink == nullptr) return null_argument("sink");
    std::vector<rt::Session::Draw> all;
    for (size_t i = 0; i < count; ++i)
      all.push_back({draws[i].sequence, sampling_options(draws[i].sampling), draws[i].count});
    return session->session->generate(
        all, [&](size_t draw, int32_t token) { return sink(draw, token, data) != 0; });
  });
}

int32_t sinter_has_mtp(const sinter_model* model) {
  return model != nullptr && model->model->plan().hidden_size != 0 ? 1 : 0;
}

sinter_status sinter_draft(sinter_session* session, const sinter_draft_part* parts, size_t count,
                           char** error) {
  return guarded("sinter_draft", error, [&]() -> rt::Status {
    if (session == nullptr) return null_argument("session");
    if (parts == nullptr && count != 0) return null_argument("parts");
    std::vector<rt::Session::DraftPart> all;
    for (size_t i = 0; i < count; ++i) {
      const sinter_draft_part& part = parts[i];
      if (part.tokens == nullptr && part.count != 0) return null_argument("tokens");
      all.push_back({part.sequence, part.position, {part.tokens, part.count}, part.logits_rows});
    }
    return session->session->draft(all);
  });
}

sinter_status sinter_draft_logits(const sinter_session* session, int32_t sequence, int64_t rows,
                                  const float** logits, char** error) {
  return guarded("sinter_draft_logits", error, [&]() -> rt::Status {
    if (logits == nullptr) return null_argument("logits");
    *logits = nullptr;
    if (session == nullptr) return null_argument("session");
    const auto found = session->session->read_draft_logits(sequence, rows);
    if (!found.ok()) return found.error();
    *logits = found->data();
    return rt::Done{};
  });
}

int64_t sinter_drafted(const sinter_session* session, int32_t sequence) {
  return session == nullptr ? 0 : session->session->drafted(sequence);
}

int64_t sinter_position_of(const sinter_session* session, int32_t sequence) {
  return session == nullptr ? 0 : session->session->position(sequence);
}

sinter_status sinter_logits_of(const sinter_session* session, int32_t sequence, int64_t rows,
                               const float** logits, char** error) {
  return guarded("sinter_logits_of", error, [&]() -> rt::Status {
    if (logits == nullptr) return null_argument("logits");
    *logits = nullptr;
    if (session == nullptr) return null_argument("session");
    const auto found = session->session->read_logits(sequence, rows);
    if (!found.ok()) return found.error();
    *logits = found->data();
    return rt::Done{};
  });
}

void sinter_free_string(char* text) { std::free(text); }

const char* sinter_version(void) { return SINTER_VERSION; }

}  // extern "C"

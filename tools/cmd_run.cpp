// run: text in, text out, a token at a time; with --chat, turns of a conversation.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <iostream>
#include <memory>
#include <optional>

#include "runtime/session/sampler.h"
#include "tools/chat.h"
#include "tools/command.h"
#include "tools/files.h"
#include "tools/model_options.h"
#include "tools/report.h"
#include "tools/terminal.h"
#include "tools/token_ids.h"

namespace sinter::tools {
namespace {

using runtime::Error;
using runtime::Plan;
using runtime::Result;
using runtime::Session;
using Clock = std::chrono::steady_clock;

struct RunOptions {
  ModelOptions model;
  std::optional<std::string> prompt;  // "-" is the standard input
  std::string prompt_file;
  std::string ids_file;  // the prompt as token ids
  int64_t tokens = 128;
  std::optional<double> temperature, top_p;
  std::optional<int> top_k;
  std::optional<uint64_t> seed;
  bool greedy = false;
  bool ignore_eos = false;
  bool stats = false;
  bool chat = false;
  std::string system;
};

// What was asked for, before what the model recommends; greedy when neither says anything.
Result<runtime::SamplingOptions> sampling_of(const RunOptions& options, const Plan& plan) {
  const bool asked = options.temperature || options.top_k || options.top_p || options.seed;
  const bool recommended = plan.temperature >= 0 || plan.top_k >= 0 || plan.top_p >= 0;
  runtime::SamplingOptions sampling;
  sampling.greedy = options.greedy || (!asked && !recommended);
  if (plan.temperature >= 0) sampling.temperature = static_cast<float>(plan.temperature);
  if (plan.top_p >= 0) sampling.top_p = static_cast<float>(plan.top_p);
  if (plan.top_k >= 0) sampling.top_k = static_cast<int>(plan.top_k);
  if (options.temperature) sampling.temperature = static_cast<float>(*options.temperature);
  if (options.top_p) sampling.top_p = static_cast<float>(*options.top_p);
  if (options.top_k) sampling.top_k = *options.top_k;
  sampling.seed = options.seed.value_or(0);
  if (runtime::Status status = runtime::check(sampling); !status.ok()) return status.error();
  return sampling;
}

// The text to continue; nothing when none was given. That of a file loses one newline at its end,
// which editors and `echo` put there.
Result<std::optional<std::string>> prompt_text(const RunOptions& options) {
  const std::string& file = options.prompt == "-" ? *options.prompt : options.prompt_file;
  if (file.empty()) return options.prompt;
  auto text = read_file(file);
  if (!text.ok()) return text.error();
  if (text->ends_with('\n')) text->pop_back();
  return std::optional(*std::move(text));
}

runtime::Status check_length(const std::vector<int32_t>& ids, const RunOptions& options,
                             const Plan& plan) {
  const int64_t context = options.model.max_context > 0
                              ? std::min(options.model.max_context, plan.max_context)
                              : plan.max_context;
  if (static_cast<int64_t>(ids.size()) > context)
    return Error{fmt::format(
        "the prompt has {} tokens, but the context holds {}; shorten it{}", ids.size(), context,
        context < plan.max_context ? " or raise --context"
                                   : " or compile with a larger --max-context")};
  return runtime::Done{};
}

Result<std::vector<int32_t>> prompt_tokens(const RunOptions& options, const Plan& plan,
                                           const runtime::Tokenizer& tokenizer,
                                           const std::string& prompt) {
  // A chat template writes the special tokens itself.
  auto ids = tokenizer.encode(prompt, !options.chat, options.chat);
  if (!ids.ok()) return ids.error();
  if (ids->empty() && plan.bos_id >= 0) ids->push_back(plan.bos_id);
  if (ids->empty())
    return Error{
        "the prompt is empty, and the model has no token to begin a text with; give -p TEXT or -f "
        "FILE"};
  if (auto status = check_length(*ids, options, plan); !status.ok()) return status.error();
  return ids;
}

Result<std::vector<int32_t>> given_tokens(const RunOptions& options, const Plan& plan) {
  auto ids = read_token_ids(options.ids_file);
  if (!ids.ok()) return ids.error();
  if (auto status = check_token_ids(*ids, plan.vocab_size, options.ids_file); !status.ok())
    return status.error();
  if (auto status = check_length(*ids, options, plan); !status.ok()) return status.error();
  return ids;
}

// What tokens are shown as, one after the other: their text, or their ids where no tokenizer is.
class TokenText {
 public:
  explicit TokenText(const std::optional<runtime::Tokenizer>& tokenizer) {
    if (tokenizer) decoder_.emplace(*tokenizer, true);
  }
  std::string push(int32_t id) {
    if (decoder_) return decoder_->push(id);
    return fmt::format("{}{}", std::exchange(first_, false) ? "" : " ", id);
  }
  std::string flush() { return decoder_ ? decoder_->flush() : ""; }
  runtime::Status status() const { return decoder_ ? decoder_->status() : runtime::Done{}; }

 private:
  std::optional<runtime::StreamingDecoder> decoder_;
  bool first_ = true;
};

// The prompt in chunks, so that Ctrl-C is seen between them.
runtime::Status prefill(Session& session, std::span<const int32_t> ids, size_t chunk,
                        Progress& progress) {
  for (size_t done = 0; done < ids.size(); done += chunk) {
    throw_if_interrupted();
    progress.update("reading the prompt",
                    static_cast<double>(done) / static_cast<double>(ids.size()));
    const auto piece = ids.subspan(done, std::min(chunk, ids.size() - done));
    if (runtime::Status status = session.prefill(piece); !status.ok()) return status;
  }
  progress.clear();
  return runtime::Done{};
}

struct Timing {
  double prefill = 0, first_token = 0, decode = 0;  // seconds
  size_t prompt = 0, generated = 0;                 // tokens
};

void print_stats(const Timing& t, const runtime::Model& model, const Session& session) {
  note(fmt::format("prompt            {} tokens, {:.1f} tokens/s", t.prompt,
                   t.prefill > 0 ? static_cast<double>(t.prompt) / t.prefill : 0));
  note(fmt::format("first token after {:.1f} ms", t.first_token * 1e3));
  // The first one came with the prompt.
  note(fmt::format("generated         {} tokens, {:.1f} tokens/s", t.generated,
                   t.generated > 1 ? static_cast<double>(t.generated - 1) / t.decode : 0));
  note(fmt::format("memory            {} {}; state {}, activations {}",
                   size_text(memory_in_use(model, session)),
                   model.device().id == "host" ? "at its peak" : "of the GPU's",
                   size_text(session.state_bytes()), size_text(session.arena_bytes())));
}

// Everything that one text after another is made with.
struct Generator {
  const RunOptions& options;
  const runtime::Model& model;
  const std::optional<runtime::Tokenizer>& tokenizer;
  runtime::SamplingOptions sampling;
  Session& session;
  std::vector<int32_t> history = {};  // what the session holds
  bool full = false;                  // the last text ended because the context did

  // Continues `ids` on stdout, which shows them, too, when `echo`. Gives the new text.
  Result<std::string> run(const std::vector<int32_t>& ids, bool echo);
};

Result<std::string> Generator::run(const std::vector<int32_t>& ids, bool echo) {
  const auto show = [](const std::string& text) {
    write_output(text);
    std::fflush(stdout);
  };
  // The prompt goes through the decoder, too: what it holds back belongs before the first new
  // token.
  TokenText decoder(tokenizer);
  std::string prompt_text;
  for (const int32_t id : ids) prompt_text += decoder.push(id);
  if (echo) show(prompt_text);
  char last = !echo || prompt_text.empty() ? '\n' : prompt_text.back();

  // What the session has read already is not read again.
  const bool goes_on =
      history.size() < ids.size() && std::equal(history.begin(), history.end(), ids.begin());
  if (!goes_on) {
    session.reset();
    history.clear();
  }
  const auto unread = std::span(ids).subspan(history.size());
  Timing timing;
  timing.prompt = unread.size();
  Progress progress;
  const auto start = Clock::now();
  if (auto status =
          prefill(session, unread, static_cast<size_t>(model.device_plan().chunk), progress);
      !status.ok())
    return status.error();
  timing.prefill = seconds_since(start);
  history = ids;

  // The last token that is drawn need not fit.
  const int64_t fits = session.context() - session.position() + 1;
  auto decode_start = Clock::now();
  bool ended = false;
  std::string made;
  const auto sink = [&](int32_t token) {
    if (timing.generated++ == 0) {
      timing.first_token = seconds_since(start);
      decode_start = Clock::now();
    }
    history.push_back(token);
    const std::vector<int32_t>& ends = model.plan().eos_ids;
    ended = !options.ignore_eos && std::find(ends.begin(), ends.end(), token) != ends.end();
    if (ended) return false;
    const std::string text = decoder.push(token);
    if (!text.empty()) last = text.back();
    made += text;
    show(text);
    return !interrupted();
  };
  if (!interrupted()) {
    if (auto status = session.generate(sampling, std::min(options.tokens, fits), sink);
        !status.ok())
      return status.error();
  }
  history.resize(static_cast<size_t>(session.position()));
  full = fits < options.tokens && static_cast<int64_t>(timing.generated) == fits && !ended &&
         !interrupted();
  timing.decode = seconds_since(decode_start);
  const std::string rest = decoder.flush();
  if (auto status = decoder.status(); !status.ok()) return status.error();
  if (!rest.empty()) last = rest.back();
  show(rest + (last == '\n' ? "" : "\n"));
  if (options.stats) print_stats(timing, model, session);
  return made + rest;
}

using Conversation =
    nlohmann::ordered_json;  // with messages and kwargs; see runtime/text/chat_template.h

Conversation begin_conversation(const RunOptions& options) {
  Conversation conversation = {{"messages", Conversation::array()},
                               {"kwargs", {{"add_generation_prompt", true}}}};
  if (!options.system.empty())
    conversation["messages"].push_back({{"role", "system"}, {"content", options.system}});
  return conversation;
}

// The prompt that asks for an answer to `text`, which joins the conversation.
Result<std::string> add_turn(Conversation& conversation, const std::string& text,
                             const ChatFormat& format) {
  conversation["messages"].push_back({{"role", "user"}, {"content", text}});
  return format.render(conversation, runtime::local_time_now());
}

Result<int> run(const Program& program, RunOptions options) {
  if (!options.system.empty() && !options.chat)
    return Error{"--system begins a conversation; it needs --chat"};
  const auto given = prompt_text(options);
  if (!given.ok()) return given.error();
  const bool interactive = options.chat && !*given;
  if (interactive && ::isatty(STDIN_FILENO) != 1)
    return Error{
        "--chat talks with a terminal; give a single message with -p TEXT, -f FILE or, from the "
        "standard input, -p -"};
  options.model.context = options.model.max_context;
  auto model = load_model(program, options.model);
  if (!model.ok()) return model.error();
  const Plan& plan = (*model)->plan();
  const bool by_ids = !options.ids_file.empty();
  auto found_tokenizer = tokenizer_of(program, options.model.path, (*model)->file());
  if (!found_tokenizer.ok() && !by_ids) return found_tokenizer.error();
  std::optional<runtime::Tokenizer> tokenizer;
  if (found_tokenizer.ok()) tokenizer = *std::move(found_tokenizer);
  auto sampling = sampling_of(options, plan);
  if (!sampling.ok()) return sampling.error();

  std::optional<ChatFormat> format;
  Conversation conversation = begin_conversation(options);
  std::string prompt = given->value_or("");
  if (options.chat) {
    auto found = chat_format_of((*model)->file());
    if (!found.ok()) return found.error();
    format = *std::move(found);
  }
  std::vector<int32_t> ids;
  if (!interactive) {
    if (format) {
      auto text = add_turn(conversation, prompt, *format);
      if (!text.ok()) return text.error();
      prompt = *std::move(text);
    }
    auto encoded =
        by_ids ? given_tokens(options, plan) : prompt_tokens(options, plan, *tokenizer, prompt);
    if (!encoded.ok()) return encoded.error();
    ids = *std::move(encoded);
  }

  // No more room than this text can need, unless the context was chosen.
  const int64_t room =
      interactive ? plan.max_context
                  : std::min(plan.max_context, static_cast<int64_t>(ids.size()) + options.tokens);
  const int64_t context = options.model.max_context > 0 ? options.model.max_context : room;
  auto created = Session::create(*model, context, executor_of(options.model));
  if (!created.ok()) return created.error();
  announce(**model);
  Generator generator{options, **model, tokenizer, *sampling, **created};
  const auto full_note = [&] {
    if (generator.full)
      note(fmt::format("{}: stopped: the context of {} is full", program.name,
                       generator.session.context()));
  };
  if (!interactive) {
    const auto text = generator.run(ids, !options.chat);
    if (!text.ok()) return text.error();
    full_note();
    return interrupted() ? kExitInterrupted : 0;
  }

  std::string line;
  while (!interrupted()) {
    write_output("> ");
    std::fflush(stdout);
    if (!std::getline(std::cin, line)) break;
    if (line.empty()) continue;
    const auto text = add_turn(conversation, line, *format);
    if (!text.ok()) return text.error();
    const auto turn = prompt_tokens(options, plan, *tokenizer, *text);
    if (!turn.ok()) return turn.error();
    const auto answer = generator.run(*turn, false);
    if (!answer.ok()) return answer.error();
    full_note();
    conversation["messages"].push_back({{"role", "assistant"}, {"content", *answer}});
  }
  write_output("\n");
  return interrupted() ? kExitInterrupted : 0;
}

}  // namespace

void add_run(CommandLine& line) {
  auto options = std::make_shared<RunOptions>();
  options->model.cached = true;
  const Program& program = line.program();
  CLI::App& app = line.add(
      "run",
      "Continue a text. The prompt and its continuation go to stdout as they are made, everything "
      "else to stderr. How tokens are drawn follows the model's generation_config.json unless "
      "options say otherwise; without either, the likeliest token is taken. The same command gives "
      "the same text.",
      program.name + " run model.plan -p \"ROMEO:\" -n 64 --stats",
      [&program, options] { return run(program, *options); });
  add_model_argument(app, program, options->model);
  CLI::Option* prompt =
      app.add_option("-p,--prompt", options->prompt,
                     "The text to continue; with --chat, the message to answer. \"-\" reads it "
                     "from the standard input, as -f - does")
          ->type_name("TEXT");
  app.add_option("-f,--file", options->prompt_file,
                 "The same from a file, byte for byte but for one newline at its end")
      ->type_name("FILE")
      ->excludes(prompt);
  CLI::Option* ids =
      app.add_option("--ids", options->ids_file,
                     "The prompt as a file of token ids, separated by white space; - is stdin. "
                     "Needs no tokenizer: without one, ids are printed instead of text")
          ->type_name("FILE")
          ->excludes(prompt)
          ->excludes("--file");
  app.add_flag("--chat", options->chat,
               "Talk with the model in the form of its chat template: answer the message of -p or "
               "-f, or, "
               "without one, lines from the terminal, keeping the conversation")
      ->excludes(ids);
  app.add_option("--system", options->system,
                 "With --chat: what the model is told before the conversation");
  app.add_option("-n,--tokens", options->tokens, "How many tokens to make at most")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30))
      ->capture_default_str();
  app.add_option("--temperature", options->temperature,
                 "Below 1 keeps to likely tokens, above 1 is freer; 0 takes the likeliest");
  app.add_option("--top-k", options->top_k, "Draw from this many likeliest tokens; 0 is off");
  app.add_option("--top-p", options->top_p,
                 "Draw from the likeliest tokens that hold this much probability; 1 is off");
  app.add_option("--seed", options->seed, "Another seed draws another text");
  app.add_flag("--greedy", options->greedy, "Always take the likeliest token");
  app.add_flag("--ignore-eos", options->ignore_eos, "Go on after a token that ends the text");
  app.add_option("--context", options->model.max_context,
                 "Positions to make room for; by default as many as this text needs")
      ->check(CLI::Range(int64_t{1}, int64_t{1} << 30));
  app.add_flag("--stats", options->stats, "Print speed and memory to stderr at the end");
  add_execution_options(app, options->model);
  add_executor_option(app, options->model);
}

}  // namespace sinter::tools

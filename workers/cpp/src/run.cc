#include "run.h"

#include <cxxabi.h>

#include <cstdlib>
#include <typeinfo>

#include "children.h"
#include "payload.h"
#include "proto/lz4.h"
#include "proto/scanner.h"

namespace tusk::detail {
namespace {

constexpr std::size_t kMaxMessage = 16 << 10;

// An error's text goes into a record, where text is UTF-8 and not endless.
std::string clean(std::string text) {
  if (text.size() > kMaxMessage) {
    std::size_t size = kMaxMessage;
    while (size > 0 && (text[size] & 0xC0) == 0x80) --size;
    text.resize(size);
  }
  if (!proto::is_utf8(text)) {
    for (char& c : text) {
      if (c & 0x80) c = '?';
    }
  }
  return text;
}

std::string current_exception_name() {
  const std::type_info* type = abi::__cxa_current_exception_type();
  if (!type) return "unknown";
  int status = 0;
  char* name = abi::__cxa_demangle(type->name(), nullptr, nullptr, &status);
  std::string out = status == 0 && name ? name : type->name();
  std::free(name);
  return out;
}

void fail(Run& run, std::string type, std::string message, bool no_retry) {
  run.state = proto::State::kFailed;
  run.has_result = false;
  run.no_retry = no_retry;
  run.error_type = clean(std::move(type));
  run.error_message = clean(std::move(message));
}

// In a catch block: what happened, as the run's answer.
void fail_with_current_exception(Run& run) {
  try {
    throw;
  } catch (const Defer& e) {
    run.deferred = true;
    run.defer_ms = static_cast<std::uint64_t>(e.after().count());
    run.has_result = false;
  } catch (const Cancelled& e) {
    fail(run, "tusk::Cancelled", e.what(), false);
  } catch (const UnreadableBody& e) {
    fail(run, "tusk::ValueError", std::string("the body cannot be read: ") + e.what(), true);
  } catch (const UnwritableResult& e) {
    fail(run, "tusk::ValueError", std::string("the result cannot be written: ") + e.what(), true);
  } catch (const NoRetry& e) {
    fail(run, current_exception_name(), e.what(), true);
  } catch (const TypedError& e) {
    fail(run, e.type(), e.what(), false);
  } catch (const std::exception& e) {
    fail(run, current_exception_name(), e.what(), false);
  } catch (...) {
    fail(run, current_exception_name(), "", false);
  }
  // Whatever a handler throws when it was told to stop, it has stopped.
  if (run.cancelled.load(std::memory_order_acquire)) {
    run.state = proto::State::kCancelled;
    run.deferred = false;
  }
}

// The body, decompressed into `content` if need be. Throws UnreadableBody.
std::string_view readable_body(Run& run, std::string& content, const ResultRules& rules) {
  if (!run.compressed) return run.raw_body();
  const std::size_t limit = rules.body.load(std::memory_order_relaxed);
  auto out = proto::lz4_decompress(run.raw_body(), limit);
  if (!out) {
    throw UnreadableBody("it is no LZ4 frame of at most " + std::to_string(limit) + " bytes");
  }
  content = std::move(*out);
  return content;
}

void finish_result(Run& run, const ResultRules& rules) {
  run.state = proto::State::kSucceeded;
  const std::size_t limit = rules.body.load(std::memory_order_relaxed);
  if (run.result.size() > limit) {
    const std::string size = std::to_string(run.result.size());
    std::string().swap(run.result);
    fail(run, "tusk::TooLarge",
         "the result has " + size + " bytes, the limit \"body\" is " + std::to_string(limit), true);
    return;
  }
  const std::size_t threshold = rules.threshold.load(std::memory_order_relaxed);
  if (threshold > 0) {
    run.result_compressed =
        compress(run.result, {.body = limit, .lz4 = true, .threshold = threshold});
  }
  if (run.result.size() >= proto::kFrameBody) {
    auto* owner = new std::string(std::move(run.result));
    run.result.clear();
    run.result_frame = proto::Bytes::adopt(
        owner->data(), owner->size(), [](void* o) { delete static_cast<std::string*>(o); }, owner);
  }
}

Context context_of(Run& run) {
  return Context(run.id, run.entry->name, run.attempt,
                 run.stop ? run.stop->get_token() : std::stop_token(), &run);
}

void end_waiting(Run& run) {
  if (run.awaits.load(std::memory_order_relaxed)) run.entry->children->run_ended(run);
}

void reset_answer(Run& run) {
  run.result.clear();
  run.result_compressed = run.no_retry = run.has_result = run.deferred = false;
}

}  // namespace

void execute(Run& run, const ResultRules& rules) {
  reset_answer(run);
  try {
    std::string content;
    const std::string_view body = readable_body(run, content, rules);
    Context context = context_of(run);
    run.has_result = run.entry->handler(body, run.codec, context, run.result);
    finish_result(run, rules);
  } catch (...) {
    fail_with_current_exception(run);
  }
  end_waiting(run);
}

void execute_batch(Entry& entry, const std::vector<Run*>& runs, const ResultRules& rules) {
  std::vector<BatchItem> items;
  std::vector<Context> contexts;
  std::vector<Run*> readable;
  std::vector<std::string> contents(runs.size());
  items.reserve(runs.size());
  for (std::size_t i = 0; i < runs.size(); ++i) {
    Run& run = *runs[i];
    reset_answer(run);
    try {
      BatchItem item;
      item.body = readable_body(run, contents[i], rules);
      item.codec = run.codec;
      items.push_back(std::move(item));
      readable.push_back(&run);
      if (entry.wants_context) contexts.push_back(context_of(run));
    } catch (...) {
      fail_with_current_exception(run);
    }
  }
  if (!items.empty()) entry.batch_handler(items, contexts);
  for (Run* run : readable) end_waiting(*run);
  for (std::size_t i = 0; i < readable.size(); ++i) {
    Run& run = *readable[i];
    try {
      if (items[i].error) std::rethrow_exception(items[i].error);
      run.has_result = items[i].has_result;
      run.result = std::move(items[i].result);
      finish_result(run, rules);
    } catch (...) {
      fail_with_current_exception(run);
    }
  }
}

}  // namespace tusk::detail

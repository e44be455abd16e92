// What an operator does: pauses a type, unblocks an order key, changes many tasks at once.
#include "daemon/core/broker.h"

namespace tusk::core {

using proto::Record;
using proto::Value;
using proto::Writer;
namespace code = proto::code;

void Broker::control(const Caller& caller, const Record& record) {
  auto invalid = [&](const std::string& why, std::string_view field) {
    error(caller, record.ref, code::kInvalid, why, "field", field);
  };
  for (auto what : {Job::What::kCancel, Job::What::kRetry, Job::What::kReprioritise}) {
    if (record.name == name_of(what)) return start_job(caller, record, what);
  }
  const bool unblock = record.name == "unblock";
  if (!unblock && record.name != "pause") {
    return invalid("there is no control \"" + std::string(record.name) +
                       "\"; there are pause, unblock, "
                       "cancel, retry and reprioritise",
                   "what");
  }
  const auto name = record.value.get("type").text();
  const uint32_t index = name ? scheduler_.find_type(*name) : kNone;
  if (index == kNone) {
    return invalid("there is no type \"" + std::string(name.value_or("")) + "\"", "type");
  }
  auto say = [&](bool done) {
    answer(caller, kRecordOverhead, [&](Writer& out) {
      out.start(proto::Kind::kAnswer, 3).pack_uint64(record.ref);
      out.packer().pack_map(1);
      out.text("done");
      done ? out.packer().pack_true() : out.packer().pack_false();
    });
  };
  if (unblock) {
    const auto key = record.value.get("key").text();
    if (!key) return invalid("unblock needs the key", "key");
    const auto& keys = scheduler_.type(index).order_keys;
    const auto it = keys.find(std::string(*key));
    if (it == keys.end() || !gates_[it->second].blocked) return say(false);
    gates_[it->second].blocked = false;
    look_at(it->second);
    return say(true);
  }
  const auto ms = record.value.get("ms").number();
  if (!ms || *ms > proto::kMaxDuration) {
    return invalid("pause needs ms, a number of milliseconds up to 100 years; 0 ends a pause",
                   "ms");
  }
  const bool paused = scheduler_.type(index).closed & Type::kPaused;
  pause_type(index, std::chrono::milliseconds(*ms), "an operator");
  say(paused || *ms > 0);
}

}  // namespace tusk::core

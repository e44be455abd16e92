// What a handler or an operator says of a whole type.
#include "tests/simulation/model.h"

namespace tusk::simulation {

namespace code = proto::code;
using proto::Record;

// No task of it starts for so long; the last word counts, and 0 ends the pause.
void Model::pause(bool is_item, const std::string& name, uint64_t ms) {
  if (ms == 0) {
    paused_.erase({is_item, name});
    return settle();
  }
  const Nanos until = now_ + static_cast<Nanos>(ms) * kMillisecond;
  paused_[{is_item, name}] = until;
  alarm(until, {.what = Alarm::kPause, .name = name, .is_item = is_item});
}

void Model::on_pause(Session& session, const Record& record) {
  const auto at = run_of(session, record);
  if (at != session.runs.end()) pause(at->is_item, at->type, record.time);
}

void Model::on_control(const Who& who, const Record& record) {
  auto invalid = [&](const char* field) {
    error(who, Rule::control, record.ref, code::kInvalid,
          {{.key = "field", .text = field, .is_text = true}});
  };
  if (record.name != "pause" && record.name != "unblock") return invalid("what");
  const std::string name(record.value.get("type").text().value_or(""));
  if (!types_.count(name)) return invalid("type");
  if (record.name == "unblock") {
    const auto key = record.value.get("key").text();
    if (!key) return invalid("key");
    const bool done = blocked_.erase({name, std::string(*key)}) > 0;
    return owe(who, {.rule = Rule::control,
                     .kind = Kind::kAnswer,
                     .ref = record.ref,
                     .fields = {{"done", done ? "true" : "false"}}});
  }
  const auto ms = record.value.get("ms").number();
  if (!ms || *ms > proto::kMaxDuration) return invalid("ms");
  const bool was_paused = paused_.count({false, name}) > 0;
  owe(who, {.rule = Rule::control,
            .kind = Kind::kAnswer,
            .ref = record.ref,
            .fields = {{"done", was_paused || *ms > 0 ? "true" : "false"}}});
  pause(false, name, *ms);
}

}  // namespace tusk::simulation

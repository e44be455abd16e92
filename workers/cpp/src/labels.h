// Labels and needs: what tasks are marked with, what they need, what a worker has. Checked, and as
// they are written.
#pragma once

#include <cstddef>
#include <map>
#include <string>

#include "proto/decoder.h"
#include "proto/writer.h"
#include "tusk/options.h"
#include "tusk/value.h"

namespace tusk {

// What values a map of labels may have.
struct LabelRules {
  std::size_t most = 0;  // entries
  bool texts = false;
  bool amounts = false;
  std::int64_t least = 0;  // of an amount
};
inline constexpr LabelRules kTaskLabels{proto::kMaxLabels, true, false};
inline constexpr LabelRules kWorkerLabels{proto::kMaxWorkerLabels, true, true};
inline constexpr LabelRules kNeeds{proto::kMaxNeeds, true, true};
inline constexpr LabelRules kConsumes{proto::kMaxNeeds, false, true, 1};

// Throws Invalid, which names `option` and what is wrong with it.
void check_labels(const char* option, const Map& labels, const LabelRules& rules);
// The same for names that are looked for.
void check_label(const char* option, std::string_view name);
void write_labels(proto::Packer& packer, const Map& labels);

// The attributes labels and needs of a task, if the options have any. Throws Invalid.
void write_needs(proto::AttributeWriter& out, const CallOptions& options);

// What a worker has: `own`, and under it what TUSK_LABELS says, a JSON object. Throws Invalid.
Map worker_labels(const std::string& environment, Map own);

// What a task is marked with; what is no text is left out.
std::map<std::string, std::string> task_labels(proto::Value labels);

}  // namespace tusk

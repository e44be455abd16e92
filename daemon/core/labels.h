// Which tasks have a label: a name with a text. Each pair has a list of its tasks, in the order in
// which they got it.
//
//   uint32_t node = labels.add(task, "customer", "acme");   // the task keeps it
//   for (uint32_t n = labels.first("customer", "acme"); n != kNone; n = labels.next(n))
//     ... labels.task(n) ...
//   labels.remove(node);
//
// add and first cost a hash of the pair, all else is constant. Bounds are the caller's.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>

#include "daemon/core/pool.h"

namespace tusk::core {

class LabelIndex {
 public:
  uint32_t add(uint32_t task, std::string_view name, std::string_view value) {
    const auto [it, fresh] = by_text_.try_emplace(joined(name, value), kNone);
    if (fresh) {
      it->second = labels_.add();
      Label& label = labels_[it->second];
      label.name = name;
      label.value = value;
    }
    const uint32_t node = nodes_.add();
    nodes_[node].label = it->second;
    nodes_[node].task = task;
    labels_[it->second].tasks.push_back(nodes_, node);
    return node;
  }

  void remove(uint32_t node) {
    const uint32_t index = nodes_[node].label;
    Label& label = labels_[index];
    label.tasks.remove(nodes_, node);
    nodes_.remove(node);
    if (!label.tasks.empty()) return;
    by_text_.erase(joined(label.name, label.value));
    labels_.remove(index);
  }

  // Its task has another place now.
  void move(uint32_t node, uint32_t task) { nodes_[node].task = task; }

  // The first task with this label, and the next one behind it; kNone: there is none.
  uint32_t first(std::string_view name, std::string_view value) const {
    const auto it = by_text_.find(joined(name, value));
    return it == by_text_.end() ? kNone : labels_[it->second].tasks.head;
  }
  uint32_t next(uint32_t node) const { return nodes_[node].next; }
  // How many tasks have it.
  size_t count(std::string_view name, std::string_view value) const {
    const auto it = by_text_.find(joined(name, value));
    return it == by_text_.end() ? 0 : labels_[it->second].tasks.count;
  }

  uint32_t task(uint32_t node) const { return nodes_[node].task; }
  const std::string& name(uint32_t node) const { return labels_[nodes_[node].label].name; }
  const std::string& value(uint32_t node) const { return labels_[nodes_[node].label].value; }

  // Pairs that some task has.
  size_t size() const { return by_text_.size(); }

 private:
  struct Node {
    uint32_t label = kNone, task = kNone, prev = kNone, next = kNone;
  };
  struct Label {
    std::string name, value;
    List<Node> tasks;
  };

  // Names and texts are at most 255 bytes, so that the length of the first tells them apart.
  static std::string joined(std::string_view name, std::string_view value) {
    std::string out(1, static_cast<char>(name.size()));
    return out.append(name).append(value);
  }

  Pool<Node> nodes_;
  Pool<Label> labels_;
  std::unordered_map<std::string, uint32_t> by_text_;
};

}  // namespace tusk::core

// Attributes that a task keeps, encoded as they go out, read again.
//
//   const StoredAttributes kept(task.forwarded.view(), task.forwarded_count);
//   kept.each([](Attribute key, Value value) { ... });
//
// Values live as long as it does.
#pragma once

#include <string>
#include <string_view>

#include "proto/scanner.h"
#include "proto/value.h"
#include "proto/wire.h"

namespace tusk::core {

class StoredAttributes {
 public:
  StoredAttributes(std::string_view entries, uint32_t count) {
    bytes_ += static_cast<char>(0xDE);  // a map of up to 65,535 pairs
    bytes_ += static_cast<char>(count >> 8);
    bytes_ += static_cast<char>(count);
    bytes_ += entries;
    size_t offset = 0;
    if (!scanner_.scan(bytes_, offset)) map_ = proto::Value(scanner_.tokens().data());
  }
  StoredAttributes(const StoredAttributes&) = delete;
  StoredAttributes& operator=(const StoredAttributes&) = delete;

  // visit(key, value) for each.
  template <typename Visit>
  void each(Visit visit) const {
    bool is_key = true;
    uint64_t number = 0;
    for (proto::Value v : map_.items()) {
      if (is_key) {
        number = v.number().value_or(0);
      } else {
        visit(static_cast<proto::Attribute>(number), v);
      }
      is_key = !is_key;
    }
  }

  // Nothing if it is not there.
  proto::Value get(proto::Attribute wanted) const {
    proto::Value found;
    each([&](proto::Attribute key, proto::Value value) {
      if (key == wanted) found = value;
    });
    return found;
  }

 private:
  std::string bytes_;
  proto::Scanner scanner_;
  proto::Value map_;
};

}  // namespace tusk::core

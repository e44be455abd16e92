// Carries a tree into typed fields by the tables of schema.h, and gathers what is wrong with it and
// what has no effect. Internal to the typed layer.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "config/schema.h"
#include "config/source.h"

namespace tusk::config {

class Reader {
 public:
  // What a file says of one section that this version does not act on.
  struct Idle {
    std::string_view section;
    std::vector<std::string> keys;  // "name" or "entry.name"
    Place place;
  };

  explicit Reader(const Source& source) : source_(source) {}

  void read(const Value& root, Orchestration& into);

  // For codecs. A table's fields are those of `owner`.
  void read_table(const Table& table, const Value& value, void* owner);
  // One level of names that the user chose; calls `each` with name and value.
  template <class Each>
  void read_names(const Value& value, Each each);
  // Every codec of a single value calls this once: it notes keys without effect.
  void leaf(const Key& key);
  void expected(const Value& value, const std::string& what, const std::string& hint = "");
  void error(const Place& place, std::string message);

  const std::vector<Idle>& idle() const { return idle_; }
  std::vector<Error> take_errors() { return std::move(errors_); }

 private:
  bool expect_map(const Value& value);
  bool good_name(const Map::Key& name);
  std::string where() const;  // "[section] entry.key"
  // More errors would not be shown, so nothing more is read.
  bool full() const;

  // A name of the path for as long as it lives.
  class Step {
   public:
    Step(Reader& reader, std::string_view name) : reader_(reader) {
      reader_.path_.emplace_back(name);
    }
    ~Step() { reader_.path_.pop_back(); }
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    Reader& reader_;
  };

  const Source& source_;
  std::vector<std::string> path_;
  std::vector<Error> errors_;
  std::vector<Idle> idle_;
};

template <class Each>
void Reader::read_names(const Value& value, Each each) {
  if (value.is_null() || !expect_map(value)) return;  // a name with nothing below: no entries
  const Map& map = value.map();
  for (std::size_t i = 0; i < map.size() && !full(); ++i) {
    Step step(*this, map.key(i).name);
    if (good_name(map.key(i))) each(map.key(i).name, map.value(i));
  }
}

}  // namespace tusk::config

#include "config/docs.h"

#include "config/codec.h"

namespace tusk::config {
namespace {

constexpr std::string_view kOpening =
    R"(# Every key of an orchestration file

Written by `tusk_config_docs` from the tables in `schema_*.cc`; a test compares the two. The language
itself is in [LANGUAGE.md](LANGUAGE.md).

- **Default**: what holds where the file does not have the key. A dash: nothing is set.
- **Effect**: `yes`; `restart` (it takes effect, but a reload keeps the value that the daemon started
  with); `none yet` (it is read and checked, one warning lists it, and nothing follows from it in
  this version).
- A name in capitals stands for one that you choose; there may be any number of them.
- Sizes are powers of 1024: `B`, `KB`, `MB`, `GB`, `TB`. Durations: `us`, `ms`, `s`, `m`, `h`, `d`.

)";

std::string in_table(std::string text) {
  for (std::size_t at = 0; (at = text.find('|', at)) != std::string::npos; at += 2) {
    text.insert(at, "\\");
  }
  return text;
}

bool is_size(const Key& key) { return key.type == &type_of<Bytes>(); }

std::string shown_default(const Key& key, const void* field) {
  Json value = key.type->print(field);
  if (value.is_null() || value == "" || key.required) return "-";
  if (value.is_array() && value.empty()) return "-";
  if (is_size(key)) return "`" + to_text(*static_cast<const Bytes*>(field)) + "`";
  return "`" + (value.is_string() ? value.get<std::string>() : value.dump()) + "`";
}

std::string effect(const Key& key) {
  if (!key.acts) return key.restart ? "none yet, restart" : "none yet";
  return key.restart ? "restart" : "yes";
}

void row(std::string& out, const std::string& name, const Key& key, const std::string& shown) {
  std::string doc(key.doc);
  if (key.required) doc = "Required. " + doc;
  out += "| `" + name + "` | " + in_table(key.type->describe(key)) + " | " + in_table(shown) +
         " | " + effect(key) + " | " + in_table(doc) + " |\n";
}

void rows(std::string& out, const Table& table, const std::string& prefix, const void* owner) {
  for (const Key& key : table.keys) {
    std::string name = prefix + std::string(key.name);
    if (key.type->table().keys.empty()) {
      bool named = key.type->names > 0;
      row(out, named ? name + ".NAME" : name, key,
          named ? "-" : shown_default(key, key.field(owner)));
    } else {
      rows(out, key.type->table(), name + ".", key.field(owner));
    }
  }
}

}  // namespace

std::string keys_reference() {
  static const Orchestration defaults;
  std::string out(kOpening);
  for (const Key& section : table<Orchestration>().keys) {
    out += "## [" + std::string(section.name) + "]\n\n" + std::string(section.doc) + "\n\n";
    out += "| Key | Takes | Default | Effect | |\n|---|---|---|---|---|\n";
    bool named = section.type->names > 0;
    std::string prefix = named ? std::string(section.entry) : "";
    const Table& below = section.type->table();
    if (below.keys.empty()) {
      row(out, prefix, section, "-");
    } else {
      const void* owner = named ? section.type->fresh() : section.field(&defaults);
      rows(out, below, named ? prefix + "." : "", owner);
    }
    out += "\n";
  }
  out.pop_back();
  return out;
}

namespace {

void restart_only(const Table& table, const std::string& path, std::vector<std::string>& names) {
  for (const Key& key : table.keys) {
    if (key.type->names == 0 && !key.type->table().keys.empty()) {
      std::string name(key.name);
      restart_only(key.type->table(), path.empty() ? "[" + name + "] " : path + name + ".", names);
    } else if (key.restart) {
      names.push_back(path + std::string(key.name));
    }
  }
}

}  // namespace

std::vector<std::string> restart_only_keys() {
  std::vector<std::string> names;
  restart_only(table<Orchestration>(), "", names);
  return names;
}

}  // namespace tusk::config

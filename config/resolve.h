// Works out what the broker reads from what the file says, and checks what no single key can show.
// Internal to the typed layer.
#pragma once

#include <string>
#include <vector>

#include "config/orchestration.h"
#include "config/reader.h"
#include "config/source.h"

namespace tusk::config {

class Resolver {
 public:
  // `folder` is where relative paths start. All must outlive the Resolver.
  Resolver(const Value& root, const Source& source, std::string folder, Orchestration& config);

  void resolve();
  // The reader's idle keys in one warning, then references that lead nowhere.
  void warn(std::vector<Reader::Idle> idle);

  std::vector<Error> errors;
  std::vector<Error> warnings;

 private:
  void daemon();
  void orders();  // of sizes and times against each other
  void endpoints();
  void workers();
  void general();
  void types();
  void pools(std::map<std::string, Place, std::less<>>& bound);
  void type_sections(const std::map<std::string, Place, std::less<>>& bound);
  template <typename T>
  void needs(const std::string& type, const char* key, const Named<T>& entries);
  void messages();
  void govern(TaskType& type, const std::string& name);
  void topics();
  void stages();
  void stage_names();
  void message_references(std::string_view section);
  void dependency_references();

  const Value* at(std::initializer_list<std::string_view> path) const;
  Place place(std::initializer_list<std::string_view> path) const;
  Place name_place(std::string_view section, std::string_view name) const;
  bool has(std::string_view section) const { return at({section}) != nullptr; }
  std::string beside_file(const std::string& path) const;
  void error(const Place& place, std::string message);
  void warn_of_reference(const Value& from, const std::string& where, std::string_view section,
                         const std::vector<std::string_view>& names);

  const Value& root_;
  const Source& source_;
  std::string folder_;
  Orchestration& config_;
};

}  // namespace tusk::config

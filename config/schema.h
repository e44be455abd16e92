// The tables that say what a configuration may hold. Each row names a key, the field it fills, its
// bounds and what it is for; reading, checking, printing, KEYS.md and reload all follow from them.
//
//   template <>
//   const Table& table<ProfilingConfig>() {
//     static const Table rows{{
//         key<&ProfilingConfig::stack_depth>("stack_depth", "Frames kept.").between(1, 1024),
//     }};
//     return rows;
//   }
//
// The field's C++ type decides how it is read and written (codec.h); its initial value in the
// struct is the key's default. Internal to the typed layer.
#pragma once

#include <cstdint>
#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "config/orchestration.h"
#include "config/value.h"

namespace tusk::config {

using Json = nlohmann::ordered_json;

class Reader;
struct Key;
struct Table;

// What is done with the fields of one C++ type, its name forgotten.
struct Type {
  void (*read)(Reader& reader, const Key& key, const Value& value, void* field);
  Json (*print)(const void* field);
  void (*copy)(const void* from, void* to);
  std::string (*describe)(const Key& key);  // for KEYS.md: "size, 64KB to 1GB"
  const Table& (*table)();                  // of a struct, or of the entries of a Named<struct>
  const void* (*fresh)();                   // an entry as it is before anything is read
  int names;                                // how many levels of user-chosen names come before it
};

struct Key {
  std::string_view name;
  std::string_view doc;
  void* (*reach)(void* owner) = nullptr;
  const Type* type = nullptr;

  std::int64_t least = std::numeric_limits<std::int64_t>::min();  // in bytes, microseconds or units
  std::int64_t most = std::numeric_limits<std::int64_t>::max();
  // Makes a text what the field holds, or says what was expected instead.
  std::string (*refine)(std::string& text) = nullptr;
  std::string_view shape;           // what `refine` takes, for messages and KEYS.md
  std::string_view only;            // the one text that is taken
  std::string_view entry = "NAME";  // what KEYS.md calls the names that the user chooses
  bool shell_words = false;
  bool required = false;
  bool restart = false;  // a reload keeps the running value
  bool acts = false;     // has an effect in this version

  Key& between(std::int64_t from, std::int64_t to) {
    least = from, most = to;
    return *this;
  }
  Key& between(Bytes from, Bytes to) {
    return between(static_cast<std::int64_t>(from.count), static_cast<std::int64_t>(to.count));
  }
  Key& between(Duration from, Duration to) { return between(from.count(), to.count()); }
  Key& as(std::string_view what, std::string (*how)(std::string&)) {
    shape = what, refine = how;
    return *this;
  }
  Key& takes_only(std::string_view text) {
    only = text;
    return *this;
  }
  Key& called(std::string_view names) {
    entry = names;
    return *this;
  }
  Key& words() {
    shell_words = true;
    return *this;
  }
  Key& needed() {
    required = true;
    return *this;
  }
  Key& restart_only() {
    restart = true;
    return *this;
  }
  Key& effective() {
    acts = true;
    return *this;
  }

  const void* field(const void* owner) const { return reach(const_cast<void*>(owner)); }
};

struct Table {
  std::vector<Key> keys;

  const Key* find(std::string_view name) const;
  std::vector<std::string_view> names() const;
};

template <class T>
const Table& table();

// The root: its keys are the sections. In schema_sections.cc.
template <>
const Table& table<Orchestration>();
// In schema_tuskd.cc.
template <>
const Table& table<Tuskd>();
template <>
const Table& table<Worker>();
template <>
const Table& table<TypeSection>();
template <>
const Table& table<TopicSection>();
// In schema_system.cc.
template <>
const Table& table<OrchestrationSection>();
template <>
const Table& table<IpcConfig>();
template <>
const Table& table<RequestReply>();
template <>
const Table& table<PublishSubscribe>();
template <>
const Table& table<Pipeline>();
template <>
const Table& table<IpcPatterns>();
template <>
const Table& table<MessageType>();
template <>
const Table& table<DataPipelineStage>();
template <>
const Table& table<MlStage>();
template <>
const Table& table<WebComponent>();
template <>
const Table& table<Microservice>();
template <>
const Table& table<ServiceDiscovery>();
template <>
const Table& table<ServiceConfig>();
template <>
const Table& table<FfiSecurity>();
template <>
const Table& table<SecurityMeasures>();
template <>
const Table& table<WasmSecurity>();
template <>
const Table& table<SecurityFeatures>();
template <>
const Table& table<PerformanceMonitoring>();
template <>
const Table& table<Profiling>();
template <>
const Table& table<ProfilingConfig>();
template <>
const Table& table<ContainerDeployment>();
template <>
const Table& table<ContainerConfig>();
template <>
const Table& table<CloudDeployment>();
template <>
const Table& table<CloudConfig>();
// In schema_languages.cc.
template <>
const Table& table<FfiConfig>();
template <>
const Table& table<FfiBindings>();
template <>
const Table& table<FfiCIntegration>();
template <>
const Table& table<FfiSafety>();
template <>
const Table& table<PythonIntegration>();
template <>
const Table& table<Pyo3Config>();
template <>
const Table& table<PythonOptimizations>();
template <>
const Table& table<Pyo3Performance>();
template <>
const Table& table<JsIntegration>();
template <>
const Table& table<WasmBindgenConfig>();
template <>
const Table& table<JsOptimizations>();
template <>
const Table& table<GoIntegration>();
template <>
const Table& table<GoBindings>();
template <>
const Table& table<GoOptimizations>();
template <>
const Table& table<GoPerformance>();
template <>
const Table& table<WasmConfig>();
template <>
const Table& table<WasmFeatures>();
template <>
const Table& table<WasmBindgen>();
template <>
const Table& table<WasmCompilation>();
template <>
const Table& table<WasmRuntime>();
template <>
const Table& table<WasmOptimization>();
template <>
const Table& table<WasmPerformance>();
template <>
const Table& table<WasmModule>();

}  // namespace tusk::config

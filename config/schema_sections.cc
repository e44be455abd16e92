// The sections of a file, in the order in which they are shown.
#include "config/codec.h"
#include "config/refine.h"

namespace tusk::config {
namespace {

using O = Orchestration;
using S = Sections;

std::vector<Key> own_sections() {
  return {
      key<&O::tuskd>("tuskd", "The daemon: where it listens, its limits and its times."),
      key<&O::workers>("workers", "Processes that tuskd starts and keeps running, by name.")
          .called("WORKER"),
      key<&O::type_sections>("types", "Task types by name. A type needs no entry to be served.")
          .called("TYPE"),
      key<&O::topic_sections>("topics",
                              "Topics by name, beside those of [ipc_patterns] and the fanout "
                              "entries of [message_types].")
          .called("TOPIC"),
      key<&O::sections, &S::orchestration>("orchestration", "Which languages work together, how."),
      key<&O::sections, &S::task_distribution>(
          "task_distribution",
          "`X_tasks` lists the types that only workers of pool X may serve; `rust_tasks` is pool "
          "`cpp`. A type that no list names is open to whoever announces it.")
          .called("X_tasks")
          .as(kName, refine_name)
          .effective(),
      key<&O::sections, &S::ipc_config>("ipc_config", "What tasks and events are carried by."),
      key<&O::sections, &S::ipc_patterns>("ipc_patterns", "The three ways to pass a message."),
      key<&O::sections, &S::message_types>(
          "message_types",
          "Bodies by name. An entry governs the task type, stage handler or topic of its own name, "
          "and those of [types] and [topics] that name it with `message`.")
          .called("MESSAGE"),
      key<&O::sections, &S::data_pipeline>("data_pipeline",
                                           "The stages of the pipeline, first to last.")
          .called("STAGE"),
  };
}

std::vector<Key> system_sections() {
  return {
      key<&O::sections, &S::ml_system>("ml_system", "The steps of a machine learning system.")
          .called("STEP"),
      key<&O::sections, &S::web_application>("web_application", "The parts of a web application.")
          .called("PART"),
      key<&O::sections, &S::microservices>("microservices", "Services by name.").called("SERVICE"),
      key<&O::sections, &S::service_discovery>("service_discovery",
                                               "How services find each other."),
      key<&O::sections, &S::service_config>("service_config", "What each service needs, by name.")
          .called("SERVICE"),
      key<&O::sections, &S::ffi_security>("ffi_security", "What calls between languages check."),
      key<&O::sections, &S::security_measures>("security_measures", "How workers are confined."),
      key<&O::sections, &S::wasm_security>("wasm_security", "How modules are confined."),
      key<&O::sections, &S::security_features>("security_features",
                                               "How the web page is protected."),
      key<&O::sections, &S::performance_monitoring>("performance_monitoring", "What is measured."),
      key<&O::sections, &S::metrics>("metrics", "Names of metrics, by group.").called("GROUP"),
      key<&O::sections, &S::profiling>("profiling", "The profiler of each language."),
      key<&O::sections, &S::profiling_config>("profiling_config", "How is profiled."),
      key<&O::sections, &S::container_deployment>("container_deployment",
                                                  "What containers are deployed with."),
      key<&O::sections, &S::container_config>("container_config", "Images by name.")
          .called("IMAGE"),
      key<&O::sections, &S::cloud_deployment>("cloud_deployment", "What the cloud consists of."),
      key<&O::sections, &S::cloud_config>("cloud_config", "How the cloud behaves."),
  };
}

std::vector<Key> language_sections() {
  return {
      key<&O::sections, &S::ffi_config>("ffi_config", "Calls between languages in one process."),
      key<&O::sections, &S::ffi_bindings>("ffi_bindings", "Languages that there are bindings for."),
      key<&O::sections, &S::ffi_c_integration>("ffi_c_integration", "How C and C++ are bound."),
      key<&O::sections, &S::c_functions>("c_functions", "Functions for C, by group.")
          .called("GROUP.FUNCTION"),
      key<&O::sections, &S::ffi_safety>("ffi_safety", "What calls into C check."),
      key<&O::sections, &S::python_integration>("python_integration", "How Python is bound."),
      key<&O::sections, &S::pyo3_config>("pyo3_config", "What the Python module holds."),
      key<&O::sections, &S::python_functions>("python_functions", "Functions for Python, by group.")
          .called("GROUP.FUNCTION"),
      key<&O::sections, &S::python_optimizations>("python_optimizations",
                                                  "How Python is made fast."),
      key<&O::sections, &S::pyo3_performance>("pyo3_performance", "How the Python module is fast."),
      key<&O::sections, &S::js_integration>("js_integration", "How JavaScript is bound."),
      key<&O::sections, &S::wasm_bindgen_config>("wasm_bindgen_config",
                                                 "What is generated for JavaScript."),
      key<&O::sections, &S::js_functions>("js_functions", "Functions for JavaScript, by group.")
          .called("GROUP.FUNCTION"),
      key<&O::sections, &S::js_optimizations>("js_optimizations", "How JavaScript is made fast."),
      key<&O::sections, &S::go_integration>("go_integration", "How Go is bound."),
      key<&O::sections, &S::go_bindings>("go_bindings", "What the Go package looks like."),
      key<&O::sections, &S::go_functions>("go_functions", "Functions for Go, by group.")
          .called("GROUP.FUNCTION"),
      key<&O::sections, &S::go_optimizations>("go_optimizations", "How Go is made fast."),
      key<&O::sections, &S::go_performance>("go_performance", "How Go workers are fast."),
      key<&O::sections, &S::wasm_config>("wasm_config", "How WebAssembly is built."),
      key<&O::sections, &S::wasm_features>("wasm_features", "What modules may use."),
      key<&O::sections, &S::wasm_bindgen>("wasm_bindgen", "What is generated beside modules."),
      key<&O::sections, &S::wasm_optimization>("wasm_optimization", "How modules are made fast."),
      key<&O::sections, &S::wasm_performance>("wasm_performance", "How modules are fast."),
      key<&O::sections, &S::wasm_modules>("wasm_modules", "Modules by name.").called("MODULE"),
  };
}

}  // namespace

template <>
const Table& table<Orchestration>() {
  static const Table rows = [] {
    Table all{own_sections()};
    for (Key& key : system_sections()) all.keys.push_back(key);
    for (Key& key : language_sections()) all.keys.push_back(key);
    return all;
  }();
  return rows;
}

}  // namespace tusk::config

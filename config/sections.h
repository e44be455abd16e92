// The sections of a polyglot system, typed: what a file may say about its languages, its functions,
// its services, their security, their measurement and their deployment. A field that is a
// std::optional was not set when it is empty; every other one has its default here. What each key
// means, its bounds and whether it has an effect yet is written once, in the tables of
// schema_languages.cc and schema_system.cc, and generated into KEYS.md.
//
// A language is a word such as "python"; "rust" has already become "cpp".
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/units.h"

namespace tusk::config {

using Text = std::optional<std::string>;
using Texts = std::vector<std::string>;

// Entries with names that the user chose, in the order of the file.
template <class T>
struct Named {
  std::vector<std::pair<std::string, T>> entries;

  auto begin() const { return entries.begin(); }
  auto end() const { return entries.end(); }
  std::size_t size() const { return entries.size(); }
  bool empty() const { return entries.empty(); }
  // Null if there is none. Takes time in proportion to size().
  const T* find(std::string_view name) const {
    for (const auto& [key, value] : entries) {
      if (key == name) return &value;
    }
    return nullptr;
  }
};

// Group, function, the function's text.
using Functions = Named<Named<std::string>>;

// --- languages: FFI, Python, JavaScript, Go, WebAssembly -----------------------------------------

struct FfiConfig {
  Texts target_languages;
  Text safety_level, error_handling, memory_management;
};

struct FfiBindings {
  bool c_bindings = false, cpp_bindings = false, python_bindings = false;
  bool javascript_bindings = false, go_bindings = false;
};

struct FfiCIntegration {
  bool header_generation = false;
  Text library_type, linkage;
};

struct FfiSafety {
  bool null_pointer_checks = false, bounds_checking = false, memory_leak_detection = false;
};

struct PythonIntegration {
  Text framework, python_version;
  bool async_support = false;
};

struct Pyo3Config {
  Text module_name;
  bool class_generation = false, function_generation = false, property_generation = false;
};

struct JsIntegration {
  Text target, framework;
  bool nodejs_support = false, browser_support = false;
};

struct WasmBindgenConfig {
  bool typescript_declarations = false, es_modules = false, webpack_integration = false;
};

struct GoIntegration {
  bool cgo_enabled = false, shared_library = false, go_modules = false;
};

struct GoBindings {
  Text package_name, function_prefix, error_handling;
};

struct WasmConfig {
  Text target, optimization;
  bool panic_abort = false, lto = false;
};

struct WasmFeatures {
  bool exceptions = false, bulk_memory = false, reference_types = false, simd = false;
};

struct WasmBindgen {
  bool typescript = false, es_modules = false, webpack = false;
};

struct WasmCompilation {
  Text target, optimization_level;
  bool lto = false;
  std::optional<std::int64_t> codegen_units;
};

struct WasmRuntime {
  Text allocator;
  bool panic_abort = false, strip_debug = false;
};

struct WasmOptimization {
  WasmCompilation compilation;
  WasmRuntime runtime;
};

struct WasmModule {
  Texts functions;
  std::optional<Bytes> memory_size;
};

struct PythonOptimizations {
  Text gil_handling, memory_management, async_support;
};

struct Pyo3Performance {
  bool zero_copy = false, parallel_iterators = false;
  bool numpy_integration = false, pandas_integration = false;
};

struct JsOptimizations {
  Text wasm_size, startup_time, memory_usage;
};

struct WasmPerformance {
  bool simd_operations = false, bulk_memory_operations = false, reference_types = false;
};

struct GoOptimizations {
  Text cgo_overhead, memory_layout, garbage_collection;
};

struct GoPerformance {
  bool zero_copy_serialization = false, concurrent_processing = false;
  bool network_optimization = false;
};

// --- the system: tasks, messages, services, security, measurement, deployment --------------------

enum class LoadBalancing { round_robin, least_connections };
enum class Protocol { none, zeromq };
enum class Serialization { none, msgpack };
enum class Compression { none, lz4 };
enum class MessageFormat { json, msgpack, protobuf };
enum class Routing { fanout, round_robin, least_connections, sticky };

// Higher runs first. The words low, normal, high and critical stand for -10, 0, 10 and 20.
struct Priority {
  std::int64_t level = 0;
  friend bool operator==(const Priority&, const Priority&) = default;
};

// What a worker has or a task needs: a text, or an amount where that is empty.
struct Label {
  std::string text;
  std::size_t amount = 0;
  friend bool operator==(const Label&, const Label&) = default;
};

struct OrchestrationSection {
  std::string master_language = "cpp";
  std::optional<Texts> worker_languages;
  std::string communication = "message_passing";
  LoadBalancing load_balancing = LoadBalancing::round_robin;
};

struct IpcConfig {
  Protocol protocol = Protocol::zeromq;
  Serialization serialization = Serialization::msgpack;
  Compression compression = Compression::lz4;
};

struct RequestReply {
  std::string pattern = "req_rep";
  std::int64_t timeout_ms = 5000;
  std::int64_t retry_attempts = 0;
};

struct PublishSubscribe {
  std::string pattern = "pub_sub";
  Texts topics;
};

struct Pipeline {
  std::string pattern = "push_pull";
  Texts stages;
};

struct IpcPatterns {
  RequestReply request_reply;
  PublishSubscribe publish_subscribe;
  Pipeline pipeline;
};

struct MessageType {
  std::optional<MessageFormat> format;
  Text schema;
  Text message;  // which message of a schema in protobuf
  bool validation = false;
  std::optional<bool> compression;
  std::optional<Priority> priority;
  std::optional<Routing> routing;
};

struct Microservice {
  Text language;
  std::optional<std::int64_t> port;
  Text load_balancer, database;
  bool gpu_support = false, real_time = false, performance_critical = false;
};

struct ServiceDiscovery {
  Text registry;
  bool health_checks = false;
  Text load_balancing;
};

struct ServiceConfig {
  Texts dependencies;
  bool circuit_breaker = false;
  std::optional<std::int64_t> connection_pool;
  bool batch_processing = false;
};

struct FfiSecurity {
  bool input_validation = false, bounds_checking = false, null_pointer_protection = false;
};

struct SecurityMeasures {
  bool sandboxing = false, memory_isolation = false, privilege_dropping = false;
};

struct WasmSecurity {
  Text memory_bounds;
  bool stack_overflow_protection = false, control_flow_integrity = false;
};

struct SecurityFeatures {
  bool csp_compliance = false, xss_protection = false, sandbox_isolation = false;
};

struct PerformanceMonitoring {
  bool metrics_collection = false, language_specific = false, latency_tracking = false;
};

struct Profiling {
  Text rust_profiler, cpp_profiler, python_profiler, js_profiler, go_profiler;
};

struct ProfilingConfig {
  std::optional<std::int64_t> sampling_rate, stack_depth;
  bool memory_tracking = false;
};

struct ContainerDeployment {
  Text orchestrator, service_mesh, load_balancer;
};

struct ContainerConfig {
  Text base_image;
  bool multi_stage = false;
  Text optimization;
  Texts dependencies;
  bool static_linking = false;
};

struct CloudDeployment {
  Text platform, service_mesh, monitoring;
};

struct CloudConfig {
  bool auto_scaling = false, health_checks = false, rolling_updates = false;
};

struct DataPipelineStage {
  Text language, function;
  std::optional<Rate> throughput;
  Texts libraries;
  Text framework, database;
};

struct MlStage {
  Text language;
  Texts libraries, frameworks;
  Text optimization, acceleration;
};

struct WebComponent {
  Text language, framework, driver, backend;
};

// One field per section, of the section's name.
struct Sections {
  OrchestrationSection orchestration;
  Named<Texts> task_distribution;
  IpcConfig ipc_config;
  IpcPatterns ipc_patterns;
  Named<MessageType> message_types;
  Named<DataPipelineStage> data_pipeline;
  Named<MlStage> ml_system;
  Named<WebComponent> web_application;
  Named<Microservice> microservices;
  ServiceDiscovery service_discovery;
  Named<ServiceConfig> service_config;
  FfiConfig ffi_config;
  FfiBindings ffi_bindings;
  FfiCIntegration ffi_c_integration;
  Functions c_functions;
  FfiSafety ffi_safety;
  PythonIntegration python_integration;
  Pyo3Config pyo3_config;
  Functions python_functions;
  PythonOptimizations python_optimizations;
  Pyo3Performance pyo3_performance;
  JsIntegration js_integration;
  WasmBindgenConfig wasm_bindgen_config;
  Functions js_functions;
  JsOptimizations js_optimizations;
  GoIntegration go_integration;
  GoBindings go_bindings;
  Functions go_functions;
  GoOptimizations go_optimizations;
  GoPerformance go_performance;
  WasmConfig wasm_config;
  WasmFeatures wasm_features;
  WasmBindgen wasm_bindgen;
  WasmOptimization wasm_optimization;
  WasmPerformance wasm_performance;
  Named<WasmModule> wasm_modules;
  FfiSecurity ffi_security;
  SecurityMeasures security_measures;
  WasmSecurity wasm_security;
  SecurityFeatures security_features;
  PerformanceMonitoring performance_monitoring;
  Named<Texts> metrics;
  Profiling profiling;
  ProfilingConfig profiling_config;
  ContainerDeployment container_deployment;
  Named<ContainerConfig> container_config;
  CloudDeployment cloud_deployment;
  CloudConfig cloud_config;
};

}  // namespace tusk::config

// The sections about the system: tasks, messages, services, security, measurement, deployment.
#include "config/codec.h"
#include "config/refine.h"

namespace tusk::config {

template <>
const std::vector<Word<LoadBalancing>>& words<LoadBalancing>() {
  static const std::vector<Word<LoadBalancing>> words{
      {"round_robin", LoadBalancing::round_robin},
      {"least_connections", LoadBalancing::least_connections}};
  return words;
}

template <>
const std::vector<Word<Protocol>>& words<Protocol>() {
  static const std::vector<Word<Protocol>> words{{"zeromq", Protocol::zeromq},
                                                 {"none", Protocol::none}};
  return words;
}

template <>
const std::vector<Word<Serialization>>& words<Serialization>() {
  static const std::vector<Word<Serialization>> words{{"msgpack", Serialization::msgpack},
                                                      {"none", Serialization::none}};
  return words;
}

template <>
const std::vector<Word<Compression>>& words<Compression>() {
  static const std::vector<Word<Compression>> words{{"lz4", Compression::lz4},
                                                    {"none", Compression::none}};
  return words;
}

template <>
const std::vector<Word<MessageFormat>>& words<MessageFormat>() {
  static const std::vector<Word<MessageFormat>> words{{"json", MessageFormat::json},
                                                      {"msgpack", MessageFormat::msgpack},
                                                      {"protobuf", MessageFormat::protobuf}};
  return words;
}

template <>
const std::vector<Word<Routing>>& words<Routing>() {
  static const std::vector<Word<Routing>> words{{"fanout", Routing::fanout},
                                                {"round_robin", Routing::round_robin},
                                                {"least_connections", Routing::least_connections},
                                                {"sticky", Routing::sticky}};
  return words;
}

// --- tasks and messages --------------------------------------------------------------------------

template <>
const Table& table<OrchestrationSection>() {
  using S = OrchestrationSection;
  static const Table rows{{
      key<&S::master_language>(
          "master_language", "The language of the program that leads; its workers may always join.")
          .as(kLanguage, refine_language)
          .effective(),
      key<&S::worker_languages>(
          "worker_languages", "Workers of another language are refused with this list. Null: any.")
          .as(kLanguage, refine_language)
          .effective(),
      key<&S::communication>("communication", "How programs talk to each other.")
          .takes_only("message_passing")
          .effective(),
      key<&S::load_balancing>(
          "load_balancing",
          "Which worker gets the next task: each in turn, or the one with the most free slots.")
          .effective(),
  }};
  return rows;
}

template <>
const Table& table<IpcConfig>() {
  static const Table rows{{
      key<&IpcConfig::protocol>("protocol",
                                "`none` switches the plain edges of [tuskd] off, whatever it says.")
          .restart_only()
          .effective(),
      key<&IpcConfig::serialization>(
          "serialization",
          "What programs agree to write bodies in; tuskd carries bodies as they are.")
          .effective(),
      key<&IpcConfig::compression>(
          "compression", "How bodies from `compression_threshold` of [tuskd] on are compressed.")
          .effective(),
  }};
  return rows;
}

template <>
const Table& table<RequestReply>() {
  static const Table rows{{
      key<&RequestReply::pattern>("pattern", "The sockets of this pattern.")
          .takes_only("req_rep")
          .effective(),
      key<&RequestReply::timeout_ms>("timeout_ms",
                                     "How long a caller waits that says nothing else, in ms.")
          .between(1, 604'800'000)
          .effective(),
      key<&RequestReply::retry_attempts>("retry_attempts", "Further runs that a failed task gets.")
          .between(0, 999)
          .effective(),
  }};
  return rows;
}

template <>
const Table& table<PublishSubscribe>() {
  static const Table rows{{
      key<&PublishSubscribe::pattern>("pattern", "The sockets of this pattern.")
          .takes_only("pub_sub")
          .effective(),
      key<&PublishSubscribe::topics>("topics", "Topics that events are published to.")
          .as(kName, refine_name)
          .effective(),
  }};
  return rows;
}

template <>
const Table& table<Pipeline>() {
  static const Table rows{{
      key<&Pipeline::pattern>("pattern", "The sockets of this pattern.")
          .takes_only("push_pull")
          .effective(),
      key<&Pipeline::stages>(
          "stages", "Stages of the pipeline, first to last, where there is no [data_pipeline].")
          .as(kName, refine_name)
          .effective(),
  }};
  return rows;
}

template <>
const Table& table<IpcPatterns>() {
  static const Table rows{{
      key<&IpcPatterns::request_reply>("request_reply", "Calls: a task and its result."),
      key<&IpcPatterns::publish_subscribe>("publish_subscribe",
                                           "Events: each to every subscriber."),
      key<&IpcPatterns::pipeline>("pipeline", "Items that go from stage to stage."),
  }};
  return rows;
}

template <>
const Table& table<MessageType>() {
  static const Table rows{{
      key<&MessageType::format>(
          "format", "What its bodies are written in; peers are told. By default they choose.")
          .effective(),
      key<&MessageType::schema>("schema",
                                "The text of its schema: JSON Schema for `json` and `msgpack`, a "
                                ".proto file for `protobuf`. Mostly `@file.read(...)`.")
          .effective(),
      key<&MessageType::message>("message",
                                 "Which message of the .proto file; needed if it has several.")
          .as(kName, refine_name)
          .effective(),
      key<&MessageType::validation>(
          "validation",
          "Are bodies checked against the schema before they are accepted? It needs one.")
          .effective(),
      key<&MessageType::compression>(
          "compression",
          "True: bodies of 64 bytes and more are compressed; false: none is. Peers are told. By "
          "default `compression_threshold` of [tuskd] says.")
          .effective(),
      key<&MessageType::priority>("priority", "Higher runs first.").effective(),
      key<&MessageType::routing>(
          "routing",
          "`fanout` makes a topic of this name. `round_robin` and `least_connections` are the load "
          "balancing of its task types, unless [types] says another; `sticky` has no effect yet.")
          .effective(),
  }};
  return rows;
}

template <>
const Table& table<DataPipelineStage>() {
  using S = DataPipelineStage;
  static const Table rows{{
      key<&S::language>("language", "Workers of which language serve the stage.")
          .as(kLanguage, refine_language)
          .effective(),
      key<&S::function>("function", "The handler that serves it. By default the stage's name.")
          .as(kName, refine_name)
          .effective(),
      key<&S::throughput>("throughput", "What it is expected to do; shown with the stage.")
          .effective(),
      key<&S::libraries>("libraries", "What its handler uses; shown with the stage.").effective(),
      key<&S::framework>("framework", "What its handler is written with."),
      key<&S::database>("database", "Where its handler stores; shown with the stage.").effective(),
  }};
  return rows;
}

template <>
const Table& table<MlStage>() {
  static const Table rows{{
      key<&MlStage::language>("language", "The language of this step.")
          .as(kLanguage, refine_language),
      key<&MlStage::libraries>("libraries", "Libraries that it uses."),
      key<&MlStage::frameworks>("frameworks", "Frameworks that it uses."),
      key<&MlStage::optimization>("optimization", "How models are made fast."),
      key<&MlStage::acceleration>("acceleration", "Hardware that it uses."),
  }};
  return rows;
}

template <>
const Table& table<WebComponent>() {
  static const Table rows{{
      key<&WebComponent::language>("language", "The language of this part.")
          .as(kLanguage, refine_language),
      key<&WebComponent::framework>("framework", "The framework of this part."),
      key<&WebComponent::driver>("driver", "The database driver of this part."),
      key<&WebComponent::backend>("backend", "The store behind this part."),
  }};
  return rows;
}

// --- services ------------------------------------------------------------------------------------

template <>
const Table& table<Microservice>() {
  static const Table rows{{
      key<&Microservice::language>("language", "The language of the service.")
          .as(kLanguage, refine_language),
      key<&Microservice::port>("port", "The port that it listens on.").between(1, 65535),
      key<&Microservice::load_balancer>("load_balancer",
                                        "What spreads requests over its instances."),
      key<&Microservice::database>("database", "The database that it uses."),
      key<&Microservice::gpu_support>("gpu_support", "Does it need a GPU?"),
      key<&Microservice::real_time>("real_time", "Does it serve in real time?"),
      key<&Microservice::performance_critical>("performance_critical",
                                               "Does its speed matter most?"),
  }};
  return rows;
}

template <>
const Table& table<ServiceDiscovery>() {
  static const Table rows{{
      key<&ServiceDiscovery::registry>("registry", "Where services register."),
      key<&ServiceDiscovery::health_checks>("health_checks",
                                            "Are services asked for their health?"),
      key<&ServiceDiscovery::load_balancing>("load_balancing",
                                             "Which instance of a service gets a request."),
  }};
  return rows;
}

template <>
const Table& table<ServiceConfig>() {
  static const Table rows{{
      key<&ServiceConfig::dependencies>("dependencies", "Services that it needs."),
      key<&ServiceConfig::circuit_breaker>("circuit_breaker",
                                           "Is a failing dependency left alone?"),
      key<&ServiceConfig::connection_pool>("connection_pool", "Connections that it keeps.")
          .between(0, 1'000'000),
      key<&ServiceConfig::batch_processing>("batch_processing",
                                            "Does it take requests in batches?"),
  }};
  return rows;
}

// --- security ------------------------------------------------------------------------------------

template <>
const Table& table<FfiSecurity>() {
  static const Table rows{{
      key<&FfiSecurity::input_validation>("input_validation", "Are arguments of calls checked?"),
      key<&FfiSecurity::bounds_checking>("bounds_checking", "Are lengths checked?"),
      key<&FfiSecurity::null_pointer_protection>("null_pointer_protection",
                                                 "Are null pointers refused?"),
  }};
  return rows;
}

template <>
const Table& table<SecurityMeasures>() {
  static const Table rows{{
      key<&SecurityMeasures::sandboxing>("sandboxing", "Do workers run in a sandbox?"),
      key<&SecurityMeasures::memory_isolation>("memory_isolation",
                                               "Do workers have memory of their own only?"),
      key<&SecurityMeasures::privilege_dropping>("privilege_dropping",
                                                 "Do workers give up their privileges?"),
  }};
  return rows;
}

template <>
const Table& table<WasmSecurity>() {
  static const Table rows{{
      key<&WasmSecurity::memory_bounds>("memory_bounds", "How a module's memory is bounded."),
      key<&WasmSecurity::stack_overflow_protection>("stack_overflow_protection",
                                                    "Is a module's stack bounded?"),
      key<&WasmSecurity::control_flow_integrity>("control_flow_integrity",
                                                 "Are a module's jumps checked?"),
  }};
  return rows;
}

template <>
const Table& table<SecurityFeatures>() {
  static const Table rows{{
      key<&SecurityFeatures::csp_compliance>("csp_compliance",
                                             "Does the web page keep a content security policy?"),
      key<&SecurityFeatures::xss_protection>("xss_protection",
                                             "Is the web page safe from foreign scripts?"),
      key<&SecurityFeatures::sandbox_isolation>("sandbox_isolation", "Are sandboxes kept apart?"),
  }};
  return rows;
}

// --- measurement ---------------------------------------------------------------------------------

template <>
const Table& table<PerformanceMonitoring>() {
  using S = PerformanceMonitoring;
  static const Table rows{{
      key<&S::metrics_collection>("metrics_collection", "Are metrics collected?"),
      key<&S::language_specific>("language_specific", "Do languages add metrics of their own?"),
      key<&S::latency_tracking>("latency_tracking", "Are latencies measured?"),
  }};
  return rows;
}

template <>
const Table& table<Profiling>() {
  static const Table rows{{
      key<&Profiling::rust_profiler>("rust_profiler", "The profiler of C++ workers."),
      key<&Profiling::cpp_profiler>("cpp_profiler", "The profiler of C++ workers."),
      key<&Profiling::python_profiler>("python_profiler", "The profiler of Python workers."),
      key<&Profiling::js_profiler>("js_profiler", "The profiler of JavaScript workers."),
      key<&Profiling::go_profiler>("go_profiler", "The profiler of Go workers."),
  }};
  return rows;
}

template <>
const Table& table<ProfilingConfig>() {
  static const Table rows{{
      key<&ProfilingConfig::sampling_rate>("sampling_rate", "Samples per second.")
          .between(1, 1'000'000),
      key<&ProfilingConfig::stack_depth>("stack_depth", "Frames kept of each stack.")
          .between(1, 65'536),
      key<&ProfilingConfig::memory_tracking>("memory_tracking", "Is memory profiled too?"),
  }};
  return rows;
}

// --- deployment ----------------------------------------------------------------------------------

template <>
const Table& table<ContainerDeployment>() {
  using S = ContainerDeployment;
  static const Table rows{{
      key<&S::orchestrator>("orchestrator", "What runs the containers."),
      key<&S::service_mesh>("service_mesh", "What carries their traffic."),
      key<&S::load_balancer>("load_balancer", "What spreads requests over them."),
  }};
  return rows;
}

template <>
const Table& table<ContainerConfig>() {
  using S = ContainerConfig;
  static const Table rows{{
      key<&S::base_image>("base_image", "The image that it is built on."),
      key<&S::multi_stage>("multi_stage", "Is it built in one image and run in another?"),
      key<&S::optimization>("optimization", "What the build aims at."),
      key<&S::dependencies>("dependencies", "Packages that it needs."),
      key<&S::static_linking>("static_linking", "Is the program linked statically?"),
  }};
  return rows;
}

template <>
const Table& table<CloudDeployment>() {
  static const Table rows{{
      key<&CloudDeployment::platform>("platform", "What the system is deployed on."),
      key<&CloudDeployment::service_mesh>("service_mesh", "What carries its traffic."),
      key<&CloudDeployment::monitoring>("monitoring", "What watches it."),
  }};
  return rows;
}

template <>
const Table& table<CloudConfig>() {
  static const Table rows{{
      key<&CloudConfig::auto_scaling>("auto_scaling",
                                      "Does the number of instances follow the load?"),
      key<&CloudConfig::health_checks>("health_checks", "Are instances asked for their health?"),
      key<&CloudConfig::rolling_updates>("rolling_updates", "Are instances replaced one by one?"),
  }};
  return rows;
}

}  // namespace tusk::config

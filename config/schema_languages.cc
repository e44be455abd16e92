// The sections about languages: FFI, Python, JavaScript, Go, WebAssembly.
#include "config/codec.h"

namespace tusk::config {

// --- FFI -----------------------------------------------------------------------------------------

template <>
const Table& table<FfiConfig>() {
  static const Table rows{{
      key<&FfiConfig::target_languages>("target_languages", "Languages that are called."),
      key<&FfiConfig::safety_level>("safety_level", "How far calls are trusted."),
      key<&FfiConfig::error_handling>("error_handling", "How errors cross the border."),
      key<&FfiConfig::memory_management>("memory_management", "Who frees what crosses the border."),
  }};
  return rows;
}

template <>
const Table& table<FfiBindings>() {
  static const Table rows{{
      key<&FfiBindings::c_bindings>("c_bindings", "Are there bindings for C?"),
      key<&FfiBindings::cpp_bindings>("cpp_bindings", "Are there bindings for C++?"),
      key<&FfiBindings::python_bindings>("python_bindings", "Are there bindings for Python?"),
      key<&FfiBindings::javascript_bindings>("javascript_bindings",
                                             "Are there bindings for JavaScript?"),
      key<&FfiBindings::go_bindings>("go_bindings", "Are there bindings for Go?"),
  }};
  return rows;
}

template <>
const Table& table<FfiCIntegration>() {
  static const Table rows{{
      key<&FfiCIntegration::header_generation>("header_generation", "Is a C header generated?"),
      key<&FfiCIntegration::library_type>("library_type", "What is built: static or shared."),
      key<&FfiCIntegration::linkage>("linkage", "How programs link to it."),
  }};
  return rows;
}

template <>
const Table& table<FfiSafety>() {
  static const Table rows{{
      key<&FfiSafety::null_pointer_checks>("null_pointer_checks", "Are null pointers refused?"),
      key<&FfiSafety::bounds_checking>("bounds_checking", "Are lengths checked?"),
      key<&FfiSafety::memory_leak_detection>("memory_leak_detection", "Are leaks looked for?"),
  }};
  return rows;
}

// --- Python --------------------------------------------------------------------------------------

template <>
const Table& table<PythonIntegration>() {
  static const Table rows{{
      key<&PythonIntegration::framework>("framework", "What the extension module is built with."),
      key<&PythonIntegration::python_version>("python_version",
                                              "Versions of Python that it is for."),
      key<&PythonIntegration::async_support>("async_support", "Can handlers be coroutines?"),
  }};
  return rows;
}

template <>
const Table& table<Pyo3Config>() {
  static const Table rows{{
      key<&Pyo3Config::module_name>("module_name", "The name that Python imports."),
      key<&Pyo3Config::class_generation>("class_generation", "Are classes generated?"),
      key<&Pyo3Config::function_generation>("function_generation", "Are functions generated?"),
      key<&Pyo3Config::property_generation>("property_generation", "Are properties generated?"),
  }};
  return rows;
}

template <>
const Table& table<PythonOptimizations>() {
  using S = PythonOptimizations;
  static const Table rows{{
      key<&S::gil_handling>("gil_handling", "When Python's interpreter lock is released."),
      key<&S::memory_management>("memory_management", "How objects are kept alive."),
      key<&S::async_support>("async_support", "What runs coroutines."),
  }};
  return rows;
}

template <>
const Table& table<Pyo3Performance>() {
  static const Table rows{{
      key<&Pyo3Performance::zero_copy>("zero_copy", "Are buffers passed without a copy?"),
      key<&Pyo3Performance::parallel_iterators>("parallel_iterators", "Do loops use all cores?"),
      key<&Pyo3Performance::numpy_integration>("numpy_integration", "Are NumPy arrays taken?"),
      key<&Pyo3Performance::pandas_integration>("pandas_integration",
                                                "Are pandas data frames taken?"),
  }};
  return rows;
}

// --- JavaScript ----------------------------------------------------------------------------------

template <>
const Table& table<JsIntegration>() {
  static const Table rows{{
      key<&JsIntegration::target>("target", "What modules are compiled for."),
      key<&JsIntegration::framework>("framework", "What modules are bound with."),
      key<&JsIntegration::nodejs_support>("nodejs_support", "Do they run in Node?"),
      key<&JsIntegration::browser_support>("browser_support", "Do they run in browsers?"),
  }};
  return rows;
}

template <>
const Table& table<WasmBindgenConfig>() {
  using S = WasmBindgenConfig;
  static const Table rows{{
      key<&S::typescript_declarations>("typescript_declarations", "Are declarations generated?"),
      key<&S::es_modules>("es_modules", "Are ES modules generated?"),
      key<&S::webpack_integration>("webpack_integration", "Can webpack bundle them?"),
  }};
  return rows;
}

template <>
const Table& table<JsOptimizations>() {
  static const Table rows{{
      key<&JsOptimizations::wasm_size>("wasm_size", "How large modules may be."),
      key<&JsOptimizations::startup_time>("startup_time", "How soon modules must be ready."),
      key<&JsOptimizations::memory_usage>("memory_usage", "How much memory modules may take."),
  }};
  return rows;
}

// --- Go ------------------------------------------------------------------------------------------

template <>
const Table& table<GoIntegration>() {
  static const Table rows{{
      key<&GoIntegration::cgo_enabled>("cgo_enabled", "May Go call C?"),
      key<&GoIntegration::shared_library>("shared_library", "Is a shared library built?"),
      key<&GoIntegration::go_modules>("go_modules", "Is a Go module generated?"),
  }};
  return rows;
}

template <>
const Table& table<GoBindings>() {
  static const Table rows{{
      key<&GoBindings::package_name>("package_name", "The name that Go imports."),
      key<&GoBindings::function_prefix>("function_prefix", "What function names start with."),
      key<&GoBindings::error_handling>("error_handling", "How errors are returned."),
  }};
  return rows;
}

template <>
const Table& table<GoOptimizations>() {
  static const Table rows{{
      key<&GoOptimizations::cgo_overhead>("cgo_overhead", "How cheap calls of C must be."),
      key<&GoOptimizations::memory_layout>("memory_layout", "How structs are laid out."),
      key<&GoOptimizations::garbage_collection>("garbage_collection",
                                                "How the collector and foreign memory agree."),
  }};
  return rows;
}

template <>
const Table& table<GoPerformance>() {
  using S = GoPerformance;
  static const Table rows{{
      key<&S::zero_copy_serialization>("zero_copy_serialization", "Are bodies read in place?"),
      key<&S::concurrent_processing>("concurrent_processing", "Do handlers run concurrently?"),
      key<&S::network_optimization>("network_optimization", "Are sends batched?"),
  }};
  return rows;
}

// --- WebAssembly ---------------------------------------------------------------------------------

template <>
const Table& table<WasmConfig>() {
  static const Table rows{{
      key<&WasmConfig::target>("target", "What modules are compiled for."),
      key<&WasmConfig::optimization>("optimization", "What the compiler aims at."),
      key<&WasmConfig::panic_abort>("panic_abort", "Does a fatal error end the module at once?"),
      key<&WasmConfig::lto>("lto", "Is it optimized at link time?"),
  }};
  return rows;
}

template <>
const Table& table<WasmFeatures>() {
  static const Table rows{{
      key<&WasmFeatures::exceptions>("exceptions", "May modules throw?"),
      key<&WasmFeatures::bulk_memory>("bulk_memory", "May modules copy memory in bulk?"),
      key<&WasmFeatures::reference_types>("reference_types", "May modules hold references?"),
      key<&WasmFeatures::simd>("simd", "May modules use SIMD?"),
  }};
  return rows;
}

template <>
const Table& table<WasmBindgen>() {
  static const Table rows{{
      key<&WasmBindgen::typescript>("typescript", "Are TypeScript declarations generated?"),
      key<&WasmBindgen::es_modules>("es_modules", "Are ES modules generated?"),
      key<&WasmBindgen::webpack>("webpack", "Can webpack bundle them?"),
  }};
  return rows;
}

template <>
const Table& table<WasmCompilation>() {
  static const Table rows{{
      key<&WasmCompilation::target>("target", "What modules are compiled for."),
      key<&WasmCompilation::optimization_level>("optimization_level", "What the compiler aims at."),
      key<&WasmCompilation::lto>("lto", "Is it optimized at link time?"),
      key<&WasmCompilation::codegen_units>("codegen_units", "Parts that are compiled in parallel.")
          .between(1, 1024),
  }};
  return rows;
}

template <>
const Table& table<WasmRuntime>() {
  static const Table rows{{
      key<&WasmRuntime::allocator>("allocator", "The allocator inside the module."),
      key<&WasmRuntime::panic_abort>("panic_abort", "Does a fatal error end the module at once?"),
      key<&WasmRuntime::strip_debug>("strip_debug", "Is debug information taken out?"),
  }};
  return rows;
}

template <>
const Table& table<WasmOptimization>() {
  static const Table rows{{
      key<&WasmOptimization::compilation>("compilation", "How modules are compiled."),
      key<&WasmOptimization::runtime>("runtime", "How modules run."),
  }};
  return rows;
}

template <>
const Table& table<WasmPerformance>() {
  using S = WasmPerformance;
  static const Table rows{{
      key<&S::simd_operations>("simd_operations", "Is SIMD used?"),
      key<&S::bulk_memory_operations>("bulk_memory_operations", "Is memory copied in bulk?"),
      key<&S::reference_types>("reference_types", "Are references used?"),
  }};
  return rows;
}

template <>
const Table& table<WasmModule>() {
  static const Table rows{{
      key<&WasmModule::functions>("functions", "Functions that the module exports."),
      key<&WasmModule::memory_size>("memory_size", "Memory that the module may use.")
          .between(64_KB, 4_GB),
  }};
  return rows;
}

}  // namespace tusk::config

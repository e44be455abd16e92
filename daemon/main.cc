// tuskd's command line.
#include <malloc.h>

#include <CLI/CLI.hpp>
#include <iostream>
#include <memory>
#include <string>

#include "daemon/control/log.h"
#include "daemon/daemon.h"
#include "daemon/load_config.h"
#include "daemon/version.h"

namespace {

constexpr int kBadConfig = 2;

// --check: `FILE: ok`, with its warnings, or its errors.
int check(const std::string& file) {
  auto loaded = tusk::load_config(file);
  if (!loaded) {
    std::cerr << tusk::config::format(loaded.error());
    return kBadConfig;
  }
  for (const tusk::config::Error& warning : loaded->warnings) {
    std::cerr << tusk::config::format(warning);
  }
  std::cout << file << ": ok\n";
  return 0;
}

// --print: the typed configuration with its defaults, as JSON.
int print(const std::string& file) {
  auto loaded = tusk::load_config(file);
  if (!loaded) {
    std::cerr << tusk::config::format(loaded.error());
    return kBadConfig;
  }
  std::cout << tusk::config::to_json(*loaded->configuration.config) << '\n';
  return 0;
}

// Large packets get memory of their own, which goes back to the system when they are done. glibc
// would raise this bound by itself to the largest block it ever freed, and then keep small things
// between the remains of large ones: under steady load the process grew by some percent a minute.
constexpr int kOwnMemoryFrom = 128 << 10;

int serve(const std::string& file) {
  ::mallopt(M_MMAP_THRESHOLD, kOwnMemoryFrom);
  tusk::Configuration configuration;
  std::vector<tusk::config::Error> warnings;
  if (!file.empty()) {
    auto loaded = tusk::load_config(file);
    if (!loaded) {
      std::cerr << tusk::config::format(loaded.error());
      return kBadConfig;
    }
    warnings = std::move(loaded->warnings);
    configuration = std::move(loaded->configuration);
  }
  tusk::Daemon daemon(std::move(configuration), file);
  for (const tusk::config::Error& warning : warnings) {
    tusk::control::log::write(tusk::config::LogLevel::warning, tusk::config::format(warning));
  }
  return daemon.run();
}

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{
      "tuskd: one daemon that lets a program in any language hand work to a program in any "
      "other.\nSIGHUP reloads FILE, SIGTERM stops."};
  std::string file, to_check, to_print;
  app.add_option("FILE", file, "TuskLang config; without one tuskd runs on defaults");
  app.add_option("--check", to_check, "check this config and exit (0 ok, 2 not)");
  app.add_option("--print", to_print, "print this config with its defaults as JSON and exit");
  app.set_version_flag("--version", tusk::kServer);
  CLI11_PARSE(app, argc, argv);
  try {
    if (!to_check.empty()) return check(to_check);
    if (!to_print.empty()) return print(to_print);
    return serve(file);
  } catch (const std::exception& e) {
    std::cerr << "tuskd: error: " << e.what() << '\n';
    return 1;
  }
}

// tuskd: reads the command line and the config, and wires the data plane to the control plane.
#include <spdlog/spdlog.h>

#include <CLI/CLI.hpp>
#include <boost/asio.hpp>
#include <csignal>
#include <iostream>
#include <memory>
#include <thread>

#include "config/orchestration.h"
#include "daemon/transport/data_plane.h"
#include "daemon/version.h"

namespace {

using tusk::config::Orchestration;

constexpr int kBadConfig = 2;

}  // namespace

int main(int argc, char** argv) {
  CLI::App app{"tuskd: lets a program in any language hand work to a program in any other"};
  std::string file;
  app.add_option("config", file, "TuskLang file; without one tuskd runs on defaults");
  app.set_version_flag("--version", tusk::kServer);
  CLI11_PARSE(app, argc, argv);

  auto config = std::make_shared<const Orchestration>();
  if (!file.empty()) {
    auto loaded = tusk::config::load(file);
    if (!loaded) {
      std::cerr << tusk::config::format(loaded.error());
      return kBadConfig;
    }
    config = std::make_shared<const Orchestration>(std::move(loaded->orchestration));
  }
  try {
    tusk::transport::DataPlane plane(config, tusk::kServer);
    plane.on_log = [](const tusk::core::LogLine& line) { spdlog::warn(line.text); };
    boost::asio::io_context io;
    boost::asio::signal_set signals(io, SIGINT, SIGTERM);
    std::function<void(boost::system::error_code, int)> on_signal = [&](auto error, int) {
      if (error) return;
      plane.post(tusk::core::Shutdown{});
      signals.async_wait(on_signal);
    };
    signals.async_wait(on_signal);
    std::thread data([&] {
      plane.run();
      io.stop();
    });
    spdlog::info("{} listens on {}", tusk::kServer, plane.endpoints().router);
    io.run();
    data.join();
  } catch (const std::exception& e) {
    std::cerr << "tuskd: error: " << e.what() << '\n';
    return 1;
  }
  return 0;
}

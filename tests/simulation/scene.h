// The scene of a history, drawn from its seed: who takes part, the config, the limits. Each seed
// draws its own (swarm testing: histories differ in character), small, so that limits are reached.
#pragma once

#include <memory>
#include <random>
#include <string>
#include <vector>

#include "config/orchestration.h"

namespace tusk::simulation {

// A peer that says hello. Each of its processes is one of these again.
struct PeerSpec {
  bool client = false, worker = false;
  bool acks = true, watched = false;
  bool lazy = false;  // acknowledges only when told to
  std::string language = "python", pool = {};
  std::vector<std::string> types = {}, handlers = {};
  uint32_t slots = 1;
};

inline const std::vector<std::string> kTypes = {"add",  "mul", "few",  "gpu",
                                                "late", "odd", "rare", "misc"};
inline const std::vector<std::string> kStages = {"clean", "enrich", "store"};
inline const std::vector<std::string> kTopics = {"prices", "news", "news.eu"};
inline const std::vector<std::string> kPatterns = {"*",    ">",       "news.*",   "news.>",
                                                   "*.eu", "news.us", "news..eu", "*.us"};

// Which attributes the clients of a history use: a history that uses few of them gets further.
struct Features {
  bool times = false, retries = false, priorities = false, groups = false;
  bool order_keys = false, limits = false, limit_keys = false;
};

class Dice;

struct Scene {
  explicit Scene(uint64_t seed);

  // The config in force at first (variant 0) and those that reloads bring.
  std::shared_ptr<const config::Orchestration> config(uint32_t variant) const;

  uint64_t seed;
  std::vector<PeerSpec> peers;
  uint32_t reqs = 1;
  bool events_out = false, pipeline_out = false;
  bool big_bodies = false;
  Features features;

 private:
  void draw_limits(config::Orchestration& config, Dice& dice) const;
  static void set_backoff(config::Orchestration& config);

  config::Orchestration base_;
};

// A generator whose numbers are the same everywhere.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  uint32_t below(uint64_t n) { return static_cast<uint32_t>(random_() % n); }
  bool one_in(uint32_t n) { return below(n) == 0; }

 private:
  std::mt19937_64 random_;
};

}  // namespace tusk::simulation

#include "tests/simulation/adversary.h"

#include <algorithm>
#include <numeric>

#include "tests/simulation/scene.h"

namespace tusk::simulation {

namespace {

// How often each decision is drawn, before the seed multiplies it.
constexpr std::array<uint32_t, kActs> kUsual = [] {
  std::array<uint32_t, kActs> w{};
  auto set = [&](Act act, uint32_t weight) { w[static_cast<size_t>(act)] = weight; };
  set(Act::connect, 40);
  set(Act::cut, 10);
  set(Act::notice, 14);
  set(Act::die, 10);
  set(Act::bye, 4);
  set(Act::deliver, 40);
  set(Act::burst, 25);
  set(Act::read, 40);
  set(Act::flow, 110);
  set(Act::submit, 130);
  set(Act::push, 50);
  set(Act::cancel, 14);
  set(Act::publish, 22);
  set(Act::subscribe, 10);
  set(Act::query, 8);
  set(Act::answer, 130);
  set(Act::answer_all, 12);
  set(Act::wrong, 8);
  set(Act::put_off, 14);
  set(Act::control, 4);
  set(Act::slots, 7);
  set(Act::ack, 12);
  set(Act::garbage, 6);
  set(Act::request, 20);
  set(Act::hang_up, 3);
  set(Act::edge, 8);
  set(Act::advance, 60);
  set(Act::reload, 5);
  set(Act::restart, 4);
  set(Act::shutdown, 1);
  return w;
}();

uint32_t draw_milliseconds(Dice& dice) {
  switch (dice.below(12)) {
    case 0:
      return 500 + dice.below(1500);
    case 1:
      return dice.one_in(4) ? 5000 + dice.below(3000) : 200;
    case 2:
    case 3:
    case 4:
      return 40 + dice.below(120);
    default:
      return 1 + dice.below(30);
  }
}

}  // namespace

History draw_history(uint64_t seed) {
  Dice dice(seed * 0xD6E8FEB86659FD93u + 3);
  std::array<uint32_t, kActs> weights = kUsual;
  for (uint32_t& weight : weights) {
    static constexpr uint32_t kTimes[] = {0, 1, 1, 2, 2, 2, 4, 9};
    weight *= kTimes[dice.below(std::size(kTimes))];
  }
  auto at_least = [&](Act act) {
    uint32_t& weight = weights[static_cast<size_t>(act)];
    weight = std::max(weight, kUsual[static_cast<size_t>(act)]);
  };
  for (Act act : {Act::connect, Act::flow, Act::submit, Act::answer, Act::advance}) at_least(act);
  const uint32_t sum = std::accumulate(weights.begin(), weights.end(), 0u);

  History history{.seed = seed, .decisions = {}};
  const uint32_t length = 40 + dice.below(dice.one_in(4) ? 400 : 160);
  const uint32_t good = 1 + dice.below(6);  // answers of eight that are successes
  uint32_t ids = 0;
  for (uint32_t i = 0; i < 8; ++i) history.decisions.push_back({Act::connect, {i, 0}});
  history.decisions.push_back({Act::flow, {1}});
  for (uint32_t i = 0; i < 3; ++i) {
    if (dice.one_in(2)) history.decisions.push_back({Act::subscribe, {i, i, 2}});
  }
  while (history.decisions.size() < length) {
    uint32_t at = dice.below(sum);
    size_t act = 0;
    while (at >= weights[act]) at -= weights[act++];
    Decision d{.act = static_cast<Act>(act), .with = {}};
    for (uint32_t& number : d.with) number = dice.below(100'000);
    d.with[0] %= 1000;
    // An id is new mostly, or one of the last.
    auto id = [&](uint32_t one_in) {
      return dice.one_in(one_in) && ids > 0 ? ids - 1 - dice.below(std::min(ids, 15u)) : ids++;
    };
    switch (d.act) {
      case Act::submit:
      case Act::push:
      case Act::request:
        d.with[3] = id(6);
        if (dice.one_in(2)) d.with[4] = 0;
        break;
      case Act::edge:
        d.with[1] = id(6);
        break;
      case Act::cancel:
        d.with[1] = id(1);
        break;
      case Act::query:
        d.with[2] = id(1);
        break;
      case Act::connect:
        d.with[1] = dice.one_in(4) ? dice.below(12) : 0;
        break;
      case Act::advance:
        d.with[0] = draw_milliseconds(dice);
        break;
      case Act::answer:
        d.with[2] = dice.below(8) < good ? 15 : dice.below(64);
        break;
      case Act::answer_all:
        d.with[1] = dice.below(8) < good ? 10 : dice.below(64);
        break;
      default:
        break;
    }
    std::fill(d.with.begin() + static_cast<long>(numbers_of(d.act)), d.with.end(), 0);
    history.decisions.push_back(d);
  }
  return history;
}

}  // namespace tusk::simulation

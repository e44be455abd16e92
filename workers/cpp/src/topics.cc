#include "topics.h"

#include <algorithm>

#include "proto/topic_pattern.h"

namespace tusk::detail {

void Topics::add(const std::shared_ptr<Channel>& channel) {
  std::lock_guard lock(mutex_);
  auto [at, is_first] = by_name_.try_emplace(channel->name);
  at->second.push_back(channel);
  if (is_first && proto::is_pattern(channel->name)) patterns_.push_back(channel->name);
}

void Topics::remove(const std::shared_ptr<Channel>& channel, const std::function<void()>& left) {
  std::lock_guard lock(mutex_);
  auto at = by_name_.find(channel->name);
  if (at == by_name_.end() || std::erase(at->second, channel) == 0) return;
  if (!at->second.empty()) return;
  erase(at);
  left();
}

Topics::Channels Topics::of_topic(std::string_view topic) {
  std::lock_guard lock(mutex_);
  Channels found;
  const auto take = [&](std::string_view name) {
    if (auto at = by_name_.find(name); at != by_name_.end()) {
      found.insert(found.end(), at->second.begin(), at->second.end());
    }
  };
  take(topic);
  for (const std::string& pattern : patterns_) {
    if (proto::matches(pattern, topic)) take(pattern);
  }
  return found;
}

std::vector<std::string> Topics::names() {
  std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, channels] : by_name_) names.push_back(name);
  return names;
}

bool Topics::disconnects(std::string_view name) {
  std::lock_guard lock(mutex_);
  auto at = by_name_.find(name);
  return at != by_name_.end() && std::ranges::all_of(at->second, [](const auto& channel) {
           return channel->options.slow == Slow::kDisconnect;
         });
}

void Topics::renew(bool restarted) {
  std::lock_guard lock(mutex_);
  for (auto& [name, channels] : by_name_) {
    for (auto& channel : channels) channel->renew(restarted);
  }
}

void Topics::end(std::string_view name, const FailurePtr& failure) {
  std::lock_guard lock(mutex_);
  auto at = by_name_.find(name);
  if (at == by_name_.end()) return;
  std::erase_if(at->second, [&](const auto& channel) {
    if (channel->accepted) channel->end(failure);
    return channel->accepted;
  });
  if (at->second.empty()) erase(at);
}

void Topics::end_all() {
  std::lock_guard lock(mutex_);
  for (auto& [name, channels] : by_name_) {
    for (auto& channel : channels) channel->end();
  }
}

void Topics::erase(std::map<std::string, Channels, std::less<>>::iterator at) {
  std::erase(patterns_, at->first);
  by_name_.erase(at);
}

}  // namespace tusk::detail

// The subscriptions of a client by what they subscribed to.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "channel.h"

namespace tusk::detail {

// Any thread, unless said otherwise.
class Topics {
 public:
  using Channels = std::vector<std::shared_ptr<Channel>>;

  void add(const std::shared_ptr<Channel>& channel);
  // Calls `left` if it was the last of its name, before another can be added under that.
  void remove(const std::shared_ptr<Channel>& channel, const std::function<void()>& left);
  // Those whose topic or pattern matches.
  Channels of_topic(std::string_view topic);
  std::vector<std::string> names();
  // Whether nobody who subscribed to the name would rather miss events than be disconnected.
  bool disconnects(std::string_view name);
  void renew(bool restarted);
  // Ends those of a name that the broker has heard of. The link's thread.
  void end(std::string_view name, const FailurePtr& failure);
  void end_all();

 private:
  std::mutex mutex_;
  std::map<std::string, Channels, std::less<>> by_name_;
  std::vector<std::string> patterns_;

  void erase(std::map<std::string, Channels, std::less<>>::iterator at);
};

}  // namespace tusk::detail

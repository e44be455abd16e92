// A topic that keeps its last event, a pattern, and what becomes of a reader that is too slow.
#include <tusk/client.h>

#include <iostream>
#include <string>

int main() {
  tusk::Client client;
  client.publish("state-cpp.door", "shut");
  {
    auto states = client.subscribe("state-cpp.*");
    auto event = states.next();
    std::cout << "door: " << event->get<std::string>() << ", "
              << (event->retained ? "retained" : "new") << "\n";
    client.publish("state-cpp.window", "open");
    std::cout << "window: " << states.next()->get<std::string>() << "\n";
  }
  {
    auto newest = client.subscribe("state-cpp.window", {.buffer = 2});
    for (int number = 1; number <= 5; ++number) client.publish("state-cpp.window", number);
    auto event = newest.next();
    std::cout << event->get<int>() << ", missed " << event->missed << "\n";
  }
  auto all_or_none =
      client.subscribe("state-cpp.window", {.buffer = 2, .slow = tusk::Slow::kDisconnect});
  for (int number = 1; number <= 5; ++number) client.publish("state-cpp.window", number);
  try {
    while (auto event = all_or_none.next()) std::cout << event->get<int>() << "\n";
  } catch (const tusk::SlowSubscriber&) {
    std::cout << "too slow\n";
  }
}

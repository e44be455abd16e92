#include <tusk/client.h>
#include <tusk/worker.h>

#include <iostream>

struct Add {
  int a, b;
  MSGPACK_DEFINE_MAP(a, b);
};

int main() {
  tusk::Worker worker({.url = "ipc:///tmp/tusk-stranger", .slots = 16});
  worker.task("add", [](const Add& in) { return in.a + in.b; });
  tusk::Client client("ipc:///tmp/tusk-stranger-nobody");
  try {
    client.call<int>("add", tusk::map("a", 1, "b", 2), {.timeout = std::chrono::milliseconds(10)});
  } catch (const tusk::Unavailable& e) {
    std::cout << e.what() << '\n';
    return 0;
  }
  return 1;
}

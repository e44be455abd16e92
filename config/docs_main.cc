// Prints KEYS.md: `tusk_config_docs > config/KEYS.md`.
#include <cstdio>

#include "config/docs.h"

int main() {
  std::fputs(tusk::config::keys_reference().c_str(), stdout);
  return 0;
}

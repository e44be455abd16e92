// Runs a target over kept inputs, without libFuzzer: the files that are named, and those of
// folders.
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <iterator>
#include <string>

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace {

namespace fs = std::filesystem;

void run(const fs::path& file) {
  std::cout << file.string() << std::endl;  // before it runs: the last line is the one that failed
  std::ifstream in(file, std::ios::binary);
  if (!in) throw fs::filesystem_error("cannot be read", file, std::error_code());
  const std::string bytes((std::istreambuf_iterator<char>(in)), {});
  LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(bytes.data()), bytes.size());
}

}  // namespace

int main(int argc, char** argv) try {
  size_t files = 0;
  for (int i = 1; i < argc; ++i) {
    if (!fs::is_directory(argv[i])) {
      run(argv[i]);
      ++files;
      continue;
    }
    for (const auto& entry : fs::recursive_directory_iterator(argv[i])) {
      if (!entry.is_regular_file()) continue;
      run(entry.path());
      ++files;
    }
  }
  std::cout << files << " inputs\n";
  if (files > 0) return 0;
  std::cerr << "no inputs: name files or folders of them\n";
  return 2;
} catch (const std::exception& e) {
  std::cerr << e.what() << '\n';
  return 2;
}

// Texts with a form of their own. Each function makes the text what the field holds and returns
// nothing, or says why it cannot. Internal to the tables.
#pragma once

#include <string>
#include <string_view>

namespace tusk::config {

inline constexpr std::string_view kLanguage = "a language such as python, javascript, go or cpp";
std::string refine_language(std::string& text);

inline constexpr std::string_view kWorkerLanguage = "python, javascript, go or cpp";
std::string refine_worker_language(std::string& text);

inline constexpr std::string_view kName = "a name of 1 to 255 bytes";
std::string refine_name(std::string& text);

// A pool's name; its default is a language, so `rust` means `cpp` here too.
inline constexpr std::string_view kPool = "a pool's name";
std::string refine_pool(std::string& text);

inline constexpr std::string_view kTcp = "tcp://HOST:PORT";
std::string refine_tcp(std::string& text);

inline constexpr std::string_view kEndpoint = "tcp://HOST:PORT or ipc://PATH";
std::string refine_endpoint(std::string& text);

inline constexpr std::string_view kIpc = "ipc://PATH";
std::string refine_ipc(std::string& text);

inline constexpr std::string_view kPath = "a path";
std::string refine_path(std::string& text);

}  // namespace tusk::config

// What hello says of this SDK.
#pragma once

namespace tusk {
inline constexpr const char* kSdk = "tuskd-cpp " TUSK_CPP_VERSION;
}  // namespace tusk

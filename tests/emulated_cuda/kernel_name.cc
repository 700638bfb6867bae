#include "tests/emulated_cuda/kernel_name.h"

#include <cxxabi.h>
#include <dlfcn.h>
#include <elf.h>
#include <fmt/format.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iterator>
#include <map>
#include <vector>

namespace gneiss::emulated_cuda {
namespace {

std::string demangled(const char* name) {
  int status = 0;
  char* const text = abi::__cxa_demangle(name, nullptr, nullptr, &status);
  std::string result = status == 0 ? text : name;
  std::free(text);
  return result;
}

template <class T>
T read_at(const std::vector<char>& file, std::uint64_t offset) {
  T value{};
  if (offset + sizeof(T) <= file.size()) std::memcpy(&value, file.data() + offset, sizeof(T));
  return value;
}

// Functions by their distance from the beginning of the program.
std::map<std::uint64_t, std::string> read_functions() {
  std::map<std::uint64_t, std::string> functions;
  std::ifstream stream("/proc/self/exe", std::ios::binary);
  const std::vector<char> file(std::istreambuf_iterator<char>(stream), {});
  const auto header = read_at<Elf64_Ehdr>(file, 0);
  for (std::uint64_t i = 0; i < header.e_shnum; ++i) {
    const auto symbols = read_at<Elf64_Shdr>(file, header.e_shoff + i * header.e_shentsize);
    if (symbols.sh_type != SHT_SYMTAB) continue;
    const auto names = read_at<Elf64_Shdr>(file, header.e_shoff + symbols.sh_link * header.e_shentsize);
    for (std::uint64_t at = 0; at < symbols.sh_size; at += sizeof(Elf64_Sym)) {
      const auto symbol = read_at<Elf64_Sym>(file, symbols.sh_offset + at);
      const std::uint64_t name = names.sh_offset + symbol.st_name;
      if (ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_value != 0 && name < file.size()) {
        functions[symbol.st_value] = file.data() + name;
      }
    }
  }
  return functions;
}

}  // namespace

std::string kernel_name(const void* function) {
  static const std::map<std::uint64_t, std::string> functions = read_functions();
  Dl_info info{};
  const auto address = reinterpret_cast<std::uint64_t>(function);
  if (::dladdr(function, &info) != 0) {
    // A program that may lie anywhere counts from its beginning, another from 0.
    const auto base = reinterpret_cast<std::uint64_t>(info.dli_fbase);
    for (const std::uint64_t offset : {address - base, address}) {
      if (const auto found = functions.find(offset); found != functions.end()) {
        return demangled(found->second.c_str());
      }
    }
  }
  return fmt::format("kernel at {}", function);
}

std::string bare_name(const std::string& kernel_name) {
  std::string name = kernel_name;
  static constexpr std::string_view anonymous = "(anonymous namespace)::";
  for (std::size_t at = name.find(anonymous); at != std::string::npos; at = name.find(anonymous)) {
    name.erase(at, anonymous.size());
  }
  name.resize(std::min(name.find_first_of("(<"), name.size()));
  return name.substr(name.find_last_of(": ") + 1);
}

}  // namespace gneiss::emulated_cuda

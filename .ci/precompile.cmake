# The standard library, fmt and doctest parsed once per library, for builds with clang: two fifths of what it
# takes. Included last, when all targets are there. GCC's precompiled headers gain nothing here (tried).
#
# A precompiled header holds the paths of this checkout, so ccache must not compare its bytes: beside it lies a
# sum of what it is made of, which `.ci/build` tells ccache to take instead.
set(precompiled_headers
  <algorithm> <array> <atomic> <chrono> <condition_variable> <cstdint> <filesystem> <functional> <map> <memory> <mutex>
  <numeric> <optional> <span> <string> <string_view> <thread> <unordered_map> <vector> <fmt/format.h>)
execute_process(COMMAND dpkg-query -W libfmt-dev doctest-dev nlohmann-json3-dev clang-19 libclang-common-19-dev
    libc6-dev linux-libc-dev "libstdc++-*-dev"
  OUTPUT_VARIABLE header_versions ERROR_QUIET)

function(gneiss_precompile target)
  target_precompile_headers(${target} PRIVATE ${ARGN})
  # What is compiled in its own way cannot take it.
  get_target_property(sources ${target} SOURCES)
  get_target_property(source_folder ${target} SOURCE_DIR)
  foreach(source IN LISTS sources)
    get_filename_component(source ${source} ABSOLUTE BASE_DIR ${source_folder})
    get_source_file_property(own_options ${source} TARGET_DIRECTORY ${target} COMPILE_OPTIONS)
    if(own_options)
      set_source_files_properties(${source} TARGET_DIRECTORY ${target} PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
    endif()
  endforeach()
  get_target_property(folder ${target} BINARY_DIR)
  string(SHA256 sum "${ARGN};${header_versions};${CMAKE_CXX_COMPILER_VERSION}")
  file(WRITE ${folder}/CMakeFiles/${target}.dir/cmake_pch.hxx.pch.sum ${sum})
endfunction()

function(gneiss_precompile_folder folder)
  get_property(targets DIRECTORY ${folder} PROPERTY BUILDSYSTEM_TARGETS)
  foreach(target IN LISTS targets)
    get_target_property(type ${target} TYPE)
    get_target_property(libraries ${target} LINK_LIBRARIES)
    if(type STREQUAL "EXECUTABLE" AND "gneiss_test_main" IN_LIST libraries)
      target_precompile_headers(${target} REUSE_FROM gneiss_test_main)
    elseif(type STREQUAL "STATIC_LIBRARY" AND NOT target STREQUAL "gneiss_test_main" AND NOT target MATCHES "emulated")
      gneiss_precompile(${target} ${precompiled_headers})
    endif()
  endforeach()
  get_property(subfolders DIRECTORY ${folder} PROPERTY SUBDIRECTORIES)
  foreach(subfolder IN LISTS subfolders)
    gneiss_precompile_folder(${subfolder})
  endforeach()
endfunction()

# It defines doctest's functions before it includes doctest.
set_source_files_properties(${CMAKE_SOURCE_DIR}/tests/support/main.cc DIRECTORY ${CMAKE_SOURCE_DIR}/tests
  PROPERTIES SKIP_PRECOMPILE_HEADERS ON)
gneiss_precompile(gneiss_test_main <nlohmann/json.hpp> <doctest/doctest.h>)
gneiss_precompile_folder(${CMAKE_SOURCE_DIR})

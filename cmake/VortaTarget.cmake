# vorta_library, vorta_executable, vorta_test: the only way targets of this project are made.

add_library(vorta_warnings INTERFACE)
target_compile_options(vorta_warnings INTERFACE -Wall -Wextra -Wshadow -Woverloaded-virtual
                                                $<$<BOOL:${VORTA_WERROR}>:-Werror>)

add_library(vorta_sanitize INTERFACE)
if(VORTA_SANITIZE)
  target_compile_options(vorta_sanitize INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer)
  target_link_options(vorta_sanitize INTERFACE -fsanitize=address,undefined)
endif()

find_program(CCACHE ccache)
if(CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER
      "${CMAKE_COMMAND}" -E env
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime "${CCACHE}")
  set(CMAKE_CUDA_COMPILER_LAUNCHER "${CCACHE}")
endif()

# The precompiled headers: ATen's tensor body and the ops, for libraries that use Torch and, not optimised, for tests.
# The tests' own code is a small part of their time to run, and optimising it half of their time to compile.
set(VORTA_TEST_OPTIONS -O0)
function(vorta_add_pch name)
  add_library(${name} OBJECT "${CMAKE_CURRENT_FUNCTION_LIST_DIR}/pch.cc")
  target_link_libraries(${name} PRIVATE Torch::headers vorta_warnings vorta_sanitize OpenMP::OpenMP_CXX fmt::fmt)
  target_include_directories(${name} PRIVATE "${CMAKE_SOURCE_DIR}")
  target_compile_options(${name} PRIVATE ${ARGN})
  if(VORTA_PCH)
    target_compile_options(${name} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
    target_precompile_headers(${name} PRIVATE <ATen/ATen.h> <fmt/format.h> <map> <string> <vector>)
  endif()
endfunction()
vorta_add_pch(vorta_pch)
if(BUILD_TESTING)
  vorta_add_pch(vorta_test_pch ${VORTA_TEST_OPTIONS})
endif()

# With VORTA_UNITY the sources of a target compile in batches: what the headers of Torch cost at the end of every
# translation unit, 3 s, is paid once a batch. Names in the anonymous namespaces of one target must then differ.
function(vorta_common target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${VORTA_UNITY} UNITY_BUILD_BATCH_SIZE 8)
  target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${target} PRIVATE vorta_warnings vorta_sanitize)
endfunction()

# Torch users compile with the same flags as the precompiled header, or GCC rejects it.
function(vorta_use_torch target pch)
  target_link_libraries(${target} PRIVATE Torch::headers OpenMP::OpenMP_CXX fmt::fmt)
  if(VORTA_PCH)
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
    target_precompile_headers(${target} REUSE_FROM ${pch})
  endif()
endfunction()

# vorta_library(name [TORCH] SOURCES ... [PUBLIC_DEPS ...] [PRIVATE_DEPS ...])
function(vorta_library name)
  cmake_parse_arguments(arg "TORCH" "" "SOURCES;PUBLIC_DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  string(REPLACE "vorta_" "" short "${name}")
  add_library(vorta::${short} ALIAS ${name})
  vorta_common(${name})
  target_link_libraries(${name} PUBLIC ${arg_PUBLIC_DEPS} PRIVATE ${arg_PRIVATE_DEPS})
  if(arg_TORCH)
    vorta_use_torch(${name} vorta_pch)
    target_link_libraries(${name} PUBLIC Torch::cpu)
  endif()
endfunction()

# vorta_executable(name SOURCES ... DEPS ...)
function(vorta_executable name)
  cmake_parse_arguments(arg "" "" "SOURCES;DEPS" ${ARGN})
  add_executable(${name} ${arg_SOURCES})
  vorta_common(${name})
  target_link_libraries(${name} PRIVATE ${arg_DEPS})
  set_target_properties(${name} PROPERTIES BUILD_RPATH "${VORTA_RPATH}")
endfunction()

# vorta_test(folder [TORCH] SUBJECTS tag... SOURCES ... DEPS ...): executable vorta_tests_<folder>, one ctest entry
# a subject tag. Tests run in the source folder's root; VORTA_SOURCE_DIR is defined for fixtures.
function(vorta_test folder)
  cmake_parse_arguments(arg "TORCH" "" "SUBJECTS;SOURCES;DEPS" ${ARGN})
  set(name vorta_tests_${folder})
  vorta_executable(${name} SOURCES ${arg_SOURCES} DEPS ${arg_DEPS} vorta_test_main)
  target_compile_options(${name} PRIVATE ${VORTA_TEST_OPTIONS})
  if(arg_TORCH)
    vorta_use_torch(${name} vorta_test_pch)
  endif()
  target_compile_definitions(${name} PRIVATE VORTA_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                             VORTA_BINARY_DIR="${CMAKE_BINARY_DIR}")
  foreach(subject IN LISTS arg_SUBJECTS)
    add_test(NAME ${folder}.${subject} COMMAND ${name} "[${subject}]" --warn NoTests WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
    set_tests_properties(${folder}.${subject} PROPERTIES LABELS "${folder};${subject}" TIMEOUT 600)
  endforeach()
endfunction()

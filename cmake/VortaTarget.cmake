# vorta_library, vorta_executable, vorta_test: the only way targets of this project are made.

add_library(vorta_warnings INTERFACE)
target_compile_options(vorta_warnings INTERFACE -Wall -Wextra -Wshadow -Woverloaded-virtual
                                                $<$<BOOL:${VORTA_WERROR}>:-Werror>)

add_library(vorta_sanitize INTERFACE)
if(VORTA_SANITIZE)
  target_compile_options(vorta_sanitize INTERFACE -fsanitize=address,undefined -fno-omit-frame-pointer)
  target_link_options(vorta_sanitize INTERFACE -fsanitize=address,undefined)
endif()

# GNU's second linker, beside its first one in most binutils, links these programs in a quarter of the time.
find_program(VORTA_GOLD ld.gold DOC "GNU gold; without it, the compiler's default linker")
if(VORTA_GOLD)
  set(CMAKE_LINKER_TYPE GOLD)
endif()

# Two work trees, a gate's base and head, share what is the same in both.
find_program(CCACHE ccache)
if(CCACHE)
  set(ccache "${CMAKE_COMMAND}" -E env "CCACHE_BASEDIR=${CMAKE_SOURCE_DIR}" CCACHE_NOHASHDIR=1
      CCACHE_SLOPPINESS=pch_defines,time_macros,include_file_mtime,include_file_ctime "${CCACHE}")
  set(CMAKE_CXX_COMPILER_LAUNCHER ${ccache})
  set(CMAKE_CUDA_COMPILER_LAUNCHER ${ccache})
endif()

# Host code orchestrates; the time of a run goes into LibTorch and the kernels. -Og compiles it in half the time of -O3
# (and faster than -O0), tests included, so that one precompiled header serves all: ATen's tensor body and the ops.
# Libraries with loops over pixels or tokens say LOOPS: they keep the build type's optimisation, without that header.
set(VORTA_HOST_OPTIONS $<$<AND:$<CONFIG:Release>,$<CXX_COMPILER_ID:GNU>>:-Og>)
add_library(vorta_pch OBJECT "${CMAKE_CURRENT_LIST_DIR}/pch.cc")
target_link_libraries(vorta_pch PRIVATE Torch::headers vorta_warnings vorta_sanitize OpenMP::OpenMP_CXX fmt::fmt)
target_include_directories(vorta_pch PRIVATE "${CMAKE_SOURCE_DIR}")
target_compile_options(vorta_pch PRIVATE ${VORTA_HOST_OPTIONS})
if(VORTA_PCH)
  target_compile_options(vorta_pch PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
  target_precompile_headers(vorta_pch PRIVATE <ATen/ATen.h> <fmt/format.h> <map> <string> <vector>)
endif()

# With VORTA_UNITY the sources of a target compile in batches: what the headers of Torch cost at the end of every
# translation unit, 3 s, is paid once a batch. Names in the anonymous namespaces of one target must then differ.
function(vorta_common target)
  set_target_properties(${target} PROPERTIES UNITY_BUILD ${VORTA_UNITY} UNITY_BUILD_BATCH_SIZE 24)
  target_include_directories(${target} PUBLIC "${CMAKE_SOURCE_DIR}")
  target_link_libraries(${target} PRIVATE vorta_warnings vorta_sanitize)
  target_compile_options(${target} PRIVATE $<$<AND:$<BOOL:${VORTA_UNITY}>,$<CXX_COMPILER_ID:GNU>>:-Wno-subobject-linkage>)
endfunction()

function(vorta_use_torch target)
  target_link_libraries(${target} PRIVATE Torch::headers OpenMP::OpenMP_CXX fmt::fmt)
endfunction()

# Users of the precompiled header compile with its flags, or GCC rejects it.
function(vorta_use_pch target)
  if(VORTA_PCH)
    target_compile_options(${target} PRIVATE $<$<CXX_COMPILER_ID:GNU>:-fpch-preprocess>)
    target_precompile_headers(${target} REUSE_FROM vorta_pch)
  endif()
endfunction()

# vorta_library(name [TORCH] [LOOPS] SOURCES ... [PUBLIC_DEPS ...] [PRIVATE_DEPS ...])
function(vorta_library name)
  cmake_parse_arguments(arg "TORCH;LOOPS" "" "SOURCES;PUBLIC_DEPS;PRIVATE_DEPS" ${ARGN})
  add_library(${name} STATIC ${arg_SOURCES})
  string(REPLACE "vorta_" "" short "${name}")
  add_library(vorta::${short} ALIAS ${name})
  vorta_common(${name})
  target_link_libraries(${name} PUBLIC ${arg_PUBLIC_DEPS} PRIVATE ${arg_PRIVATE_DEPS})
  if(arg_TORCH)
    vorta_use_torch(${name})
    target_link_libraries(${name} PUBLIC Torch::cpu)
  endif()
  if(NOT arg_LOOPS)
    target_compile_options(${name} PRIVATE ${VORTA_HOST_OPTIONS})
  endif()
  if(arg_TORCH AND NOT arg_LOOPS)
    vorta_use_pch(${name})
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

# A tag that no test has is a failure; Catch2's version 2 must be told so.
if(Catch2_VERSION VERSION_LESS 3)
  set(VORTA_TEST_FLAGS --warn NoTests)
endif()

# vorta_test(folder [PROGRAM name] [TORCH] SUBJECTS tag... SOURCES ... DEPS ...): executable vorta_tests_<folder>, one
# ctest entry a subject tag. Tests run in the source folder's root; VORTA_SOURCE_DIR is defined for fixtures.
# Folders that name one PROGRAM share vorta_tests_<PROGRAM>, and so the time that headers cost a batch: their subject
# tags, too, must then differ.
function(vorta_test folder)
  cmake_parse_arguments(arg "TORCH" "PROGRAM" "SUBJECTS;SOURCES;DEPS" ${ARGN})
  if(NOT arg_PROGRAM)
    set(arg_PROGRAM ${folder})
  endif()
  set(name vorta_tests_${arg_PROGRAM})
  if(TARGET ${name})
    target_sources(${name} PRIVATE ${arg_SOURCES})
    target_link_libraries(${name} PRIVATE ${arg_DEPS})
  else()
    vorta_executable(${name} SOURCES ${arg_SOURCES} DEPS ${arg_DEPS} vorta_test_main)
    target_compile_options(${name} PRIVATE ${VORTA_HOST_OPTIONS})
    target_compile_definitions(${name} PRIVATE VORTA_SOURCE_DIR="${CMAKE_SOURCE_DIR}"
                                               VORTA_BINARY_DIR="${CMAKE_BINARY_DIR}")
    if(arg_TORCH)
      vorta_use_torch(${name})
      vorta_use_pch(${name})
    endif()
  endif()
  foreach(subject IN LISTS arg_SUBJECTS)
    add_test(NAME ${folder}.${subject} COMMAND ${name} "[${subject}]" ${VORTA_TEST_FLAGS}
             WORKING_DIRECTORY "${CMAKE_SOURCE_DIR}")
    set_tests_properties(${folder}.${subject} PROPERTIES LABELS "${folder};${subject}" TIMEOUT 600)
  endforeach()
endfunction()

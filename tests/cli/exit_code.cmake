# Run with -P: runs PROGRAM with ARGS (a list) in WORK_DIR, and fails unless it exits with CODE and its output matches
# every regular expression in PATTERNS.
# FRESH names a folder in WORK_DIR that an earlier run may have left.
if(FRESH)
  file(REMOVE_RECURSE "${WORK_DIR}/${FRESH}")
endif()
execute_process(COMMAND "${PROGRAM}" ${ARGS} WORKING_DIRECTORY "${WORK_DIR}"
                RESULT_VARIABLE code OUTPUT_VARIABLE output ERROR_VARIABLE errors TIMEOUT 120)
string(APPEND output "${errors}")
if(NOT code STREQUAL CODE)
  message(FATAL_ERROR "expected exit code ${CODE}, found ${code}:\n${output}")
endif()
foreach(pattern IN LISTS PATTERNS)
  if(NOT output MATCHES "${pattern}")
    message(FATAL_ERROR "expected output that matches '${pattern}', found:\n${output}")
  endif()
endforeach()

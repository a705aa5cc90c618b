# roost_npm_ci(SOURCE BINARY): what SOURCE/package-lock.json names stands in BINARY/node_modules afterwards.
#
# npm is asked only when the lock is another than last time, and for exactly what the lock names; it checks each package's
# hash, and no script of a package runs. Which registry that comes from is npm's own setting and stands nowhere here.
function(roost_npm_ci source binary)
  set_property(DIRECTORY APPEND PROPERTY CMAKE_CONFIGURE_DEPENDS ${source}/package.json ${source}/package-lock.json)
  file(SHA256 ${source}/package-lock.json wanted)
  set(present "")
  if(EXISTS ${binary}/installed)
    file(READ ${binary}/installed present)
  endif()
  if(present STREQUAL wanted)
    return()
  endif()

  find_program(NPM_PROGRAM npm)
  if(NOT NPM_PROGRAM)
    # A leading space keeps CMake from folding the line.
    message(FATAL_ERROR " npm is missing, which brings uPlot for the charts: install it (apt-get install --no-install-recommends npm), "
      "or leave the charts out by -DROOST_WEB=OFF (by make: WEB=OFF)")
  endif()
  message(STATUS "npm: fetching what web/package-lock.json names")
  file(REMOVE ${binary}/installed)
  file(COPY ${source}/package.json ${source}/package-lock.json DESTINATION ${binary})
  execute_process(COMMAND ${NPM_PROGRAM} ci --ignore-scripts --no-audit --no-fund --prefer-offline --loglevel=error
    --fetch-retries=2 --fetch-retry-mintimeout=2000 --fetch-retry-maxtimeout=10000 --fetch-timeout=60000
    WORKING_DIRECTORY ${binary} RESULT_VARIABLE status OUTPUT_VARIABLE output ERROR_VARIABLE output)
  if(NOT status EQUAL 0)
    # npm's own account is long; its first line names the cause, its code the second time.
    string(REGEX MATCHALL "npm [Ee][Rr][Rr][^\n]*" lines "${output}")
    list(FILTER lines EXCLUDE REGEX "complete log|debug-0.log")
    list(SUBLIST lines 0 3 lines)
    list(JOIN lines "; " cause)
    string(REGEX REPLACE "npm [Ee][Rr][Rr](or|!) *" "" cause "${cause}")
    if(NOT cause)
      set(cause ${status})
    endif()
    message(FATAL_ERROR " npm could not fetch uPlot, which draws the charts (${cause}): set up npm for your registry (npm config), "
      "or leave the charts out by -DROOST_WEB=OFF (by make: WEB=OFF)")
  endif()
  file(WRITE ${binary}/installed ${wanted})
endfunction()

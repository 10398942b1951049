%% Signs of life for PID 1, which kills and restarts a program that shows none; see watch.c.
%%
%% Loaded only where PID 1 watches: UNIBEAM_HEART is the number of an open file, one end of a pipe, and after how many
%% seconds without a sign the program counts as hung, or 0 for one sign only, which says that it is up. The process that
%% writes them has no special priority: where ordinary processes do not get to run, the program is hung.
-module(unibeam_heart).

-export([start/1, beat/2]).

-define(BEATS, 5). % in the time that may pass without one

start(Words) ->
    true = os:unsetenv("UNIBEAM_HEART"),
    {File, [$\s | Seconds]} = lists:splitwith(fun(C) -> C =/= $\s end, Words),
    _ = spawn(?MODULE, beat, [list_to_integer(File), list_to_integer(Seconds)]),
    ok.

beat(File, Seconds) ->
    Port = open_port({fd, File, File}, [out]),
    true = port_command(Port, "."),
    case Seconds of
        0 -> receive never -> ok end; % The port ends with its owner.
        _ -> beat_on(Port, Seconds * 1000 div ?BEATS)
    end.

beat_on(Port, Pause) ->
    receive never -> ok after Pause -> true = port_command(Port, ".") end,
    beat_on(Port, Pause).

%% The orderly stop of a node, as quick as its applications let it be.
%%
%% init:stop/0 stops all applications in order, those of OTP last. There the supervisor of the process `user` waits for a
%% second, whatever happens (user_sup:terminate/2 in kernel), so that what was printed gets out. Here the rest is cut
%% short instead: when every application but kernel and stdlib has stopped, what was printed is waited for, and that is
%% the end. Neither of the two has anything to save.
%%
%% Loaded when it is called.
-module(unibeam_stop).

-export([start/0, watch/1]).

start() ->
    Masters = [Master || {Name, _, _} <- application:which_applications(), Name =/= kernel, Name =/= stdlib,
                         Master <- [application_controller:get_master(Name)], is_pid(Master)],
    _ = spawn(?MODULE, watch, [Masters]),
    init:stop().

watch(Masters) ->
    ok = wait([monitor(process, Master) || Master <- Masters]),
    ok = flush_log(),
    ok = flush_output(whereis(user)),
    erlang:halt(0).

wait([]) -> ok;
wait([Reference | More]) -> receive {'DOWN', Reference, _, _, _} -> wait(More) end.

%% The log's own process may still have something to write.
flush_log() ->
    case erlang:function_exported(logger_std_h, filesync, 1) of
        true -> _ = (catch logger_std_h:filesync(default)), ok;
        false -> ok
    end.

%% The answer to an empty request comes after everything before it was handed to the port, which halt/1 empties.
flush_output(undefined) ->
    ok;
flush_output(User) ->
    Reference = monitor(process, User),
    User ! {io_request, self(), Reference, {put_chars, unicode, <<>>}},
    receive
        {io_reply, Reference, _} -> ok;
        {'DOWN', Reference, _, _, _} -> ok
    after 1000 -> ok
    end.

%% Reads batches of inputs from standard input and tells of each what the guest's own reader made of it.
%%
%% A message is four bytes of length and a term: {Reader, [Input]} in, [{Fault, Taken, Microseconds}] out. Each input has a
%% process of its own, with at most 256 MB and a second.
-module(guest_driver).

-export([main/0]).

-define(WORDS, 32 * 1024 * 1024).
-define(LONGEST_MS, 1000).
-define(REDUCTIONS, 50000000).

main() ->
    true = register(driver, self()),
    Port = open_port({fd, 0, 1}, [binary, {packet, 4}]),
    serve(Port).

serve(Port) ->
    receive
        {Port, {data, Message}} ->
            {Reader, Inputs} = binary_to_term(Message),
            true = port_command(Port, term_to_binary([judge(Reader, Input) || Input <- Inputs])),
            serve(Port)
    end.

judge(Reader, Input) ->
    Began = erlang:monotonic_time(microsecond),
    Self = self(),
    {Pid, Monitor} = spawn_opt(fun() -> Self ! {self(), call(Reader, Input)} end,
                               [monitor, {max_heap_size, #{size => ?WORDS, kill => true, error_logger => false}}]),
    {Fault, Taken} = await(Pid, Monitor),
    {Fault, Taken, erlang:monotonic_time(microsecond) - Began}.

%% A busy host may leave an input waiting: what counts is the work that was done (an emulator does some 50 million
%% reductions in a second).
await(Pid, Monitor) ->
    receive
        {Pid, Answer} -> true = erlang:demonitor(Monitor, [flush]), Answer;
        {'DOWN', Monitor, _, _, Reason} -> {text({ended, Reason}), false}
    after ?LONGEST_MS ->
        case process_info(Pid, [reductions, current_function]) of
            [{reductions, Done}, Where] when Done > ?REDUCTIONS ->
                exit(Pid, kill),
                receive {'DOWN', Monitor, _, _, _} -> ok end,
                receive {Pid, _} -> ok after 0 -> ok end,
                {text({slow, Where}), false};
            _ -> await(Pid, Monitor)
        end
    end.

%% What may be thrown is what the readers' own documents say; anything else is a fault.
call(Reader, Input) ->
    try read(Reader, Input) of
        Taken -> {none, Taken}
    catch
        Class:Reason:Stack -> {text({Class, kind(Reason), [where(Frame) || Frame <- lists:sublist(Stack, 2)]}), false}
    end.

where({Module, Function, Given, At}) when is_list(Given) -> {Module, Function, length(Given), At};
where(Frame) -> Frame.

kind(Reason) when is_tuple(Reason), tuple_size(Reason) > 0 -> element(1, Reason);
kind(Reason) -> Reason.

text(Term) -> unicode:characters_to_binary(io_lib:format("~0tP", [Term, 30])).

read(<<"yaml">>, Input) ->
    case unibeam_cloud_yaml:parse(Input) of
        {ok, _} -> true;
        {error, Line, Why} when is_integer(Line), Line >= 0 -> _ = iolist_to_binary(Why), false
    end;
read(<<"settings">>, Input) ->
    case unibeam_cloud:settings(Input, <<>>) of
        {error, Line, Why} -> _ = iolist_to_binary([integer_to_list(Line), Why]), false;
        #{hostname := Name, erlang := Erlang, notices := Notices} ->
            _ = iolist_to_binary(Notices),
            {ok, Root} = file:get_cwd(),
            _ = [iolist_to_binary(Text) || {_, Text} <- unibeam_cloud_node:outcome(Erlang, Name, Root)],
            true
    end;
read(<<"meta">>, Input) ->
    Name = unibeam_cloud:meta_hostname(Input),
    is_binary(Name);
read(<<"gunzip">>, Input) ->
    case unibeam_cloud_files:gunzip(Input, 65536) of
        {ok, Bytes} when byte_size(Bytes) =< 65536 -> true;
        {error, Why} -> _ = iolist_to_binary(Why), false
    end;
read(<<"disk">>, Input) ->
    ok = file:write_file("disk", Input),
    case unibeam_cloud_disk:read("disk", [<<"user-data">>, <<"meta-data">>], 65536) of
        {ok, Files} -> [] =/= [ok || {_, Bytes} <- Files, is_binary(Bytes)];
        {error, Why} -> _ = iolist_to_binary(Why), false
    end;
read(<<"http">>, Input) ->
    case unibeam_cloud_http:answer(Input, 65536) of
        {ok, Body} when byte_size(Body) =< 65536 -> true;
        {error, too_large} -> false;
        {error, Why} -> _ = iolist_to_binary(Why), false;
        {status, Code} -> _ = iolist_to_binary(Code), false
    end.

%% What the host calls in a running machine, over the channel (unibeam_channel.erl): evaluate, reload, look.
%%
%% Sent in when it is first needed; no image contains it. An expression arrives as a compiled module, because an image
%% need hold neither compiler nor interpreter. One process, the evaluator, runs them all, as in Erlang's shell: what an
%% expression opens or makes lives on until the evaluator is killed, and so do the variables, which it keeps.
-module(unibeam_inside).

-export([session/0, evaluate/5, forget/0, reload/2, top/3]).
-export([start/1, manage/1, evaluator/1, lead/2]).

-define(SESSION, unibeam_session).
-define(SLOTS, 1000).
%% Characters of a value as text, bytes of it as a term, bytes of what an expression prints.
-define(TEXT_CHARACTERS, 10000).
-define(VALUE_BYTES, 4194304).
-define(OUTPUT_BYTES, 262144).

%% ---- evaluating -----------------------------------------------------------------------------------------

%% {Module, Languages, Variables}: a name for the module that the expression is to be compiled into, which is ours as
%% long as the connection lasts; the languages that work here; the variables that are bound, by language.
session() ->
    Elixir = code:ensure_loaded('Elixir.Kernel') =:= {module, 'Elixir.Kernel'},
    {Slot, Bound} = call({join, get(unibeam_connection)}),
    {Slot, [<<"erlang">> | [<<"elixir">> || Elixir]], Bound}.

%% {value, Text, Term | none, Output, Microseconds} | {exception, Class, Text, Stack, Output} | {stopped, Output} |
%% {died, Reason, Output} | {unloadable, Reason}. With `Stays` the code is kept, because somebody may keep a fun of it:
%% the emulator does not count funs when it is asked whether code is still used (erlang:check_process_code/2).
evaluate(Slot, Beam, Language, Stays, Milliseconds) ->
    call({evaluate, Slot, Beam, Language, Stays, Milliseconds}).

forget() ->
    call(forget).

call(Request) ->
    Session = case whereis(?SESSION) of
        undefined -> begin_session();
        Pid -> Pid
    end,
    Monitor = erlang:monitor(process, Session),
    Session ! {self(), Monitor, Request},
    receive
        {Monitor, Answer} -> true = erlang:demonitor(Monitor, [flush]), Answer;
        {'DOWN', Monitor, process, _, Reason} -> exit(Reason)
    end.

begin_session() ->
    {Pid, Monitor} = spawn_monitor(?MODULE, start, [self()]),
    receive
        {Pid, ready} -> true = erlang:demonitor(Monitor, [flush]), Pid;
        %% Somebody else was quicker.
        {'DOWN', Monitor, process, Pid, _} -> whereis(?SESSION)
    end.

start(Opener) ->
    true = register(?SESSION, self()),
    Opener ! {self(), ready},
    Console = case whereis(user) of undefined -> group_leader(); User -> User end,
    Leader = spawn_link(?MODULE, lead, [Console, none]),
    manage(#{leader => Leader, evaluator => none, bound => [], taken => #{}, stay => []}).

manage(State) ->
    receive
        {From, Tag, Request} ->
            {Answer, After} = handle(Request, From, State),
            From ! {Tag, Answer},
            ?MODULE:manage(After);
        {'DOWN', Monitor, process, _, _} ->
            ?MODULE:manage(State#{taken := maps:remove(Monitor, maps:get(taken, State))});
        _ ->
            ?MODULE:manage(State)
    end.

handle({join, Owner}, _From, #{taken := Taken, bound := Bound, stay := Stay} = State) ->
    {Slot, Staying} = free_slot(1, maps:values(Taken), Stay),
    Monitor = erlang:monitor(process, Owner),
    {{atom_to_binary(Slot), Bound}, State#{taken := Taken#{Monitor => Slot}, stay := Staying}};
handle({evaluate, Slot, Beam, Language, Stays, Milliseconds}, From, #{stay := Stay} = State) ->
    Module = binary_to_existing_atom(Slot),
    case code:load_binary(Module, "expression", Beam) of
        {module, Module} ->
            #{leader := Leader} = Ready = with_evaluator(State),
            Result = run(maps:get(evaluator, Ready), Leader, From, {Module, Language}, Milliseconds),
            %% What a process still runs stays as old code, and the name is not free as long.
            _ = Stays orelse (code:delete(Module) andalso code:soft_purge(Module)),
            finish(Result, flush(Leader), Ready#{stay := [Module || Stays] ++ Stay});
        {error, Reason} ->
            {{unloadable, text(Reason)}, State}
    end;
handle(forget, _From, State) ->
    {ok, without_evaluator(State)}.

finish({value, Text, Term, Bound, Time}, Output, State) ->
    {{value, Text, Term, Output, Time}, State#{bound := Bound}};
finish({exception, _, _, _} = Exception, Output, State) ->
    {erlang:append_element(Exception, Output), State};
finish({died, Reason}, Output, State) ->
    {{died, text(Reason), Output}, without_evaluator(State)};
finish(stopped, Output, State) ->
    {{stopped, Output}, without_evaluator(State)}.

%% Where all names are in use, the code that has stayed longest goes.
free_slot(Number, Taken, Stay) when Number > ?SLOTS ->
    Oldest = lists:last(Stay),
    _ = code:purge(Oldest),
    true = code:delete(Oldest),
    _ = code:purge(Oldest),
    free_slot(1, Taken, lists:droplast(Stay));
free_slot(Number, Taken, Stay) ->
    Name = list_to_atom("unibeam_expression_" ++ integer_to_list(Number)),
    Free = not lists:member(Name, Taken) andalso not erlang:module_loaded(Name) andalso
        not erlang:check_old_code(Name),
    case Free of true -> {Name, Stay}; false -> free_slot(Number + 1, Taken, Stay) end.

with_evaluator(#{evaluator := none, leader := Leader} = State) ->
    {Evaluator, _} = spawn_monitor(?MODULE, evaluator, [Leader]),
    State#{evaluator := Evaluator};
with_evaluator(#{evaluator := Evaluator} = State) ->
    case is_process_alive(Evaluator) of
        true -> State;
        false -> with_evaluator(State#{evaluator := none, bound := []})
    end.

without_evaluator(#{evaluator := none} = State) ->
    State#{bound := []};
without_evaluator(#{evaluator := Evaluator} = State) ->
    exit(Evaluator, kill),
    State#{evaluator := none, bound := []}.

run(Evaluator, Leader, From, What, Milliseconds) ->
    Monitor = erlang:monitor(process, Evaluator),
    Asking = erlang:monitor(process, From),
    Leader ! {collect, self()},
    Evaluator ! {?SESSION, self(), Monitor, What},
    Result = receive
        {Monitor, Answer} -> Answer;
        {'DOWN', Monitor, process, _, Reason} -> {died, Reason};
        {'DOWN', Asking, process, _, _} -> stopped
    after Milliseconds ->
        stopped
    end,
    true = erlang:demonitor(Monitor, [flush]),
    true = erlang:demonitor(Asking, [flush]),
    Result.

evaluator(Leader) ->
    true = group_leader(Leader, self()),
    wait(#{}).

wait(Variables) ->
    receive
        {?SESSION, Session, Tag, {Module, Language}} ->
            Own = maps:get(Language, Variables, #{}),
            {Answer, Kept} = attempt(Module, Language, Own),
            All = Variables#{Language => Kept},
            Session ! {Tag, told(Answer, All)},
            wait(All)
    end.

told({value, Text, Term, Time}, All) ->
    {value, Text, Term, [{Language, [atom_to_binary(Name) || Name <- maps:keys(Kept)]} ||
                         {Language, Kept} <- maps:to_list(All)], Time};
told(Exception, _All) ->
    Exception.

attempt(Module, Language, Variables) ->
    Began = erlang:monotonic_time(microsecond),
    try Module:run(Variables) of
        {Value, New} ->
            Time = erlang:monotonic_time(microsecond) - Began,
            {shown(Language, Value, Time), maps:merge(Variables, New)}
    catch
        Class:Reason:Stack -> {failed(Language, Class, Reason, own(Stack)), Variables}
    end.

%% The frames of the expression and below it, not ours.
own(Stack) ->
    [Frame || Frame <- Stack, element(1, Frame) =/= ?MODULE].

shown(Language, Value, Time) ->
    Term = case erlang:external_size(Value) of
        Size when Size =< ?VALUE_BYTES -> term_to_binary(portable(Value));
        _ -> none
    end,
    {value, pretty(Language, Value), Term, Time}.

pretty(<<"elixir">>, Value) ->
    Text = 'Elixir.Kernel':inspect(Value, [{pretty, true}, {width, 100}, {limit, 10000}, {printable_limit, 100000}]),
    shorten(Text);
pretty(_, Value) ->
    unicode:characters_to_binary(io_lib:format("~tp", [Value], [{chars_limit, ?TEXT_CHARACTERS}])).

shorten(Text) ->
    case byte_size(Text) > ?TEXT_CHARACTERS of
        true -> unicode:characters_to_binary([string:slice(Text, 0, ?TEXT_CHARACTERS), "..."]);
        false -> Text
    end.

%% What means nothing outside of this emulator goes out as text: pids, ports, references, funs, odd bits.
portable(Value) when is_pid(Value); is_port(Value); is_reference(Value); is_function(Value) ->
    {'$unibeam', text(Value)};
portable(Value) when is_bitstring(Value), not is_binary(Value) ->
    {'$unibeam', text(Value)};
portable([Head | Tail]) ->
    [portable(Head) | portable(Tail)];
portable(Value) when is_tuple(Value) ->
    list_to_tuple([portable(Element) || Element <- tuple_to_list(Value)]);
portable(Value) when is_map(Value) ->
    maps:from_list([{portable(Key), portable(Of)} || {Key, Of} <- maps:to_list(Value)]);
portable(Value) ->
    Value.

failed(Language, Class, Reason, Stack) ->
    {exception, atom_to_binary(Class), reason(Language, Class, Reason, Stack),
     [unicode:characters_to_binary(frame(Language, Frame)) || Frame <- Stack]}.

reason(<<"elixir">>, Class, Reason, Stack) ->
    shorten('Elixir.Exception':format_banner(Class, Reason, Stack));
reason(_, _Class, Reason, _Stack) ->
    unicode:characters_to_binary(io_lib:format("~tp", [Reason], [{chars_limit, ?TEXT_CHARACTERS}])).

frame(<<"elixir">>, Frame) ->
    'Elixir.Exception':format_stacktrace_entry(Frame);
frame(_, {Module, Function, Arguments, Where}) ->
    Arity = case Arguments of _ when is_list(Arguments) -> length(Arguments); _ -> Arguments end,
    Place = case {proplists:get_value(file, Where), proplists:get_value(line, Where)} of
        {File, Line} when is_list(File), is_integer(Line) -> io_lib:format(" (~ts:~w)", [File, Line]);
        _ -> ""
    end,
    io_lib:format("~tw:~tw/~w~ts", [Module, Function, Arity, Place]);
frame(_, Frame) ->
    text(element(1, Frame)).

text(Term) ->
    unicode:characters_to_binary(io_lib:format("~0tp", [Term], [{chars_limit, 2000}])).

%% ---- what an expression prints ----------------------------------------------------------------------------

%% A group leader (the I/O protocol of stdlib's manual): while an expression runs it keeps what is printed, and
%% otherwise passes every request on to the console, to which belongs what a process prints that is left behind.
lead(Console, none) ->
    receive
        {io_request, _, _, _} = Request -> Console ! Request, lead(Console, none);
        {collect, _} -> lead(Console, {<<>>, 0});
        {flush, From} -> From ! {self(), <<>>}, lead(Console, none);
        _ -> lead(Console, none)
    end;
lead(Console, {Kept, Lost}) ->
    receive
        {io_request, From, As, Request} ->
            {Reply, Text} = io(Request),
            From ! {io_reply, As, Reply},
            Room = max(0, ?OUTPUT_BYTES - byte_size(Kept)),
            Taken = binary:part(Text, 0, min(Room, byte_size(Text))),
            lead(Console, {<<Kept/binary, Taken/binary>>, Lost + byte_size(Text) - byte_size(Taken)});
        {flush, From} ->
            From ! {self(), with_loss(Kept, Lost)},
            lead(Console, none);
        _ ->
            lead(Console, {Kept, Lost})
    end.

with_loss(Kept, 0) -> Kept;
with_loss(Kept, Lost) -> <<Kept/binary, "\n... and ", (integer_to_binary(Lost))/binary, " bytes more.\n">>.

flush(Leader) ->
    Leader ! {flush, self()},
    receive {Leader, Output} -> Output end.

io({put_chars, Encoding, Characters}) ->
    case unicode:characters_to_binary(Characters, Encoding) of
        Text when is_binary(Text) -> {ok, Text};
        _ -> {{error, put_chars}, <<>>}
    end;
io({put_chars, Encoding, Module, Function, Arguments}) ->
    try io({put_chars, Encoding, apply(Module, Function, Arguments)})
    catch _:_ -> {{error, Function}, <<>>}
    end;
io({put_chars, Characters}) ->
    io({put_chars, latin1, Characters});
io({put_chars, Module, Function, Arguments}) ->
    io({put_chars, latin1, Module, Function, Arguments});
io({requests, Requests}) ->
    lists:foldl(fun(Request, {ok, Before}) -> {Reply, Text} = io(Request), {Reply, <<Before/binary, Text/binary>>};
                   (_, Failed) -> Failed end, {ok, <<>>}, Requests);
io(getopts) ->
    {[{binary, false}, {encoding, unicode}], <<>>};
io({setopts, _}) ->
    {ok, <<>>};
io({get_geometry, _}) ->
    {{error, enotsup}, <<>>};
io(Request) when element(1, Request) =:= get_until; element(1, Request) =:= get_chars;
                 element(1, Request) =:= get_line; element(1, Request) =:= get_password ->
    {eof, <<>>};
io(_) ->
    {{error, request}, <<>>}.

%% ---- reloading --------------------------------------------------------------------------------------------

%% Takes [{Name, File, Beam}]; {ok, [{Name, replaced | new}], Old} with the processes that run the code that was
%% current so far, {busy, Processes} with those that run code older still, which must end first (`Kill` ends them), or
%% {error, Text}.
reload(Modules, Kill) ->
    Prepared = [{binary_to_atom(Name), binary_to_list(File), Beam} || {Name, File, Beam} <- Modules],
    Names = [Name || {Name, _, _} <- Prepared],
    Busy = [Name || Name <- Names, not code:soft_purge(Name)],
    case Busy of
        [_ | _] when not Kill -> {busy, running_old(Busy)};
        _ ->
            _ = [code:purge(Name) || Name <- Busy],
            Known = [{Name, erlang:module_loaded(Name)} || Name <- Names],
            case load(Prepared) of
                ok -> {ok, [{atom_to_binary(Name), case Was of true -> replaced; false -> new end} ||
                            {Name, Was} <- Known], running_old(Names)};
                {error, Reasons} -> {error, [{atom_to_binary(Name), text(Reason)} || {Name, Reason} <- Reasons]}
            end
    end.

%% All or none; only a module with -on_load has to go alone. A shaken release may have nothing that loads several at
%% once: then none is loaded before all of them are known to be good.
load(Prepared) ->
    case erlang:function_exported(code, atomic_load, 1) of
        true ->
            case code:atomic_load(Prepared) of
                ok -> ok;
                {error, Reasons} ->
                    case [Reason || {_, Reason} <- Reasons, Reason =/= on_load_not_allowed] of
                        [] -> load_each(Prepared);
                        _ -> {error, Reasons}
                    end
            end;
        false ->
            case [{Name, Why} || {Name, _, Beam} <- Prepared, {error, Why} <- [erlang:prepare_loading(Name, Beam)]] of
                [] -> load_each(Prepared);
                Bad -> {error, Bad}
            end
    end.

load_each(Prepared) ->
    case [{Name, Why} || {Name, File, Beam} <- Prepared, {error, Why} <- [code:load_binary(Name, File, Beam)]] of
        [] -> ok;
        Failed -> {error, Failed}
    end.

running_old(Modules) ->
    [{atom_to_binary(Module), text(Pid), name(Pid), place(Pid)} ||
        Module <- Modules, erlang:check_old_code(Module),
        Pid <- processes(), Pid =/= self(), erlang:check_process_code(Pid, Module) =:= true].

%% ---- looking ----------------------------------------------------------------------------------------------

%% The `Count` processes with most of `By`, and what they used in `Milliseconds`: {Facts, Rows}.
top(By, Count, Milliseconds) ->
    Self = self(),
    Began = erlang:monotonic_time(microsecond),
    Before = maps:from_list([{Pid, Reductions} || Pid <- processes(),
                                                  {reductions, Reductions} <- [process_info(Pid, reductions)]]),
    receive after Milliseconds -> ok end,
    Time = erlang:monotonic_time(microsecond) - Began,
    Rows = [{Pid, Memory, Reductions, Reductions - maps:get(Pid, Before, 0), Queue} || Pid <- processes(), Pid =/= Self,
            [{memory, Memory}, {reductions, Reductions}, {message_queue_len, Queue}] <-
                [process_info(Pid, [memory, reductions, message_queue_len])]],
    Place = case By of <<"memory">> -> 2; <<"reductions">> -> 4; <<"queue">> -> 5 end,
    Chosen = lists:sublist(lists:reverse(lists:keysort(Place, Rows)), Count),
    {facts(length(Rows), Time), [{text(Pid), name(Pid), place(Pid), Memory, Reductions, Used, Queue} ||
                                 {Pid, Memory, Reductions, Used, Queue} <- Chosen]}.

facts(Processes, Microseconds) ->
    {Uptime, _} = statistics(wall_clock),
    Memory = try [{atom_to_binary(Kind), Bytes} || {Kind, Bytes} <- erlang:memory()] catch error:notsup -> [] end,
    [{<<"processes">>, Processes}, {<<"ports">>, erlang:system_info(port_count)},
     {<<"atoms">>, erlang:system_info(atom_count)}, {<<"schedulers">>, erlang:system_info(schedulers_online)},
     {<<"run_queue">>, statistics(run_queue)}, {<<"uptime_ms">>, Uptime}, {<<"interval_us">>, Microseconds},
     {<<"memory">>, Memory}].

name(Pid) ->
    case process_info(Pid, registered_name) of
        {registered_name, Name} -> atom_to_binary(Name);
        _ ->
            case process_info(Pid, [initial_call, dictionary]) of
                [{initial_call, Call}, {dictionary, Dictionary}] ->
                    call_text(proplists:get_value('$initial_call', Dictionary, Call));
                undefined -> <<"ended">>
            end
    end.

place(Pid) ->
    case process_info(Pid, current_function) of
        {current_function, Call} -> call_text(Call);
        undefined -> <<"ended">>
    end.

call_text({Module, Function, Arity}) when is_integer(Arity) ->
    unicode:characters_to_binary(io_lib:format("~tw:~tw/~w", [Module, Function, Arity]));
call_text(Other) ->
    text(Other).
